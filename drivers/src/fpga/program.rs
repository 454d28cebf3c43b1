//! Gateware into the FPGA: from the board's own files, or from the caller.

use super::{
    Fpga, FpgaError,
    files::{is_file_name, uncompressed},
    info::Design,
    lossy,
};
use crate::katcp_client::{Arg, FpgaState, KatcpError, Limit};
use crate::reach::random;
use proximity_proto::{Context, expose, fault::did_you_mean, gateware::Gateware};
use std::time::Duration;

/// Loading gateware takes a board 2 to 10 seconds.
const PROGRAM: Duration = Duration::from_mins(1);
/// How long a board may take over a file: it writes flash memory.
const UPLOAD: Duration = Duration::from_mins(2);
/// How long gateware may still become ready after the board has logged an error, which may be somebody else's.
const GRACE: Duration = Duration::from_secs(1);
/// Ports for transfers into memory, one chosen at random: the last one may still be closing.
const PORTS: (u16, u16) = (2000, 500);

#[expose(part = Programs)]
impl Fpga {
    /// Lists the files on the board that progdev() takes.
    ///
    /// returns: their names, in the order of the board; other files may be among them
    ///
    /// Nothing on the board changes.
    #[effect(read)]
    pub fn listbof(&mut self, cx: &Context<'_>) -> Result<Vec<String>, FpgaError> {
        self.bof_files(&self.limit(cx, 0))
    }

    /// Loads gateware into the FPGA, in place of what runs there.
    ///
    /// boffile: a file on the board, see listbof(); None or '' only unloads what runs
    /// returns: 'ok'
    ///
    /// All registers get their initial values. After a failure no gateware runs at all; only an unknown file
    /// leaves everything as it was. May be repeated.
    ///
    /// raises KeyError: the board has no such file
    /// raises RuntimeError: the board refused
    /// raises TimeoutError: the board did not answer in time
    #[effect(admin)]
    pub fn progdev(
        &mut self,
        cx: &Context<'_>,
        boffile: Option<&str>,
    ) -> Result<&'static str, FpgaError> {
        let limit = Limit::new(cx, self.timeout.max(PROGRAM));
        let file = boffile.filter(|file| !file.is_empty());
        if let Some(file) = file {
            self.check_file(&limit, file)?;
        }
        self.forget_design();
        let args = file.map(Arg::from);
        self.client.ask(&limit, "progdev", args.as_slice(), |_| {})?;
        Ok("ok")
    }

    /// Unloads the running gateware, and first takes its TAP devices out of their multicast groups.
    ///
    /// May be repeated.
    ///
    /// raises RuntimeError: the board refused
    #[effect(admin)]
    pub fn deprogram(&mut self, cx: &Context<'_>) -> Result<(), FpgaError> {
        let limit = Limit::new(cx, self.timeout.max(PROGRAM));
        let mut taps = Vec::new();
        let asked = self.client.ask(&limit, "tap-info", &[], |mut inform| {
            taps.extend(inform.next_arg().map(|name| lossy(name)));
        });
        // A server without TAP devices has none in a group.
        asked.map(|_| ()).or_else(FpgaError::unless_refused)?;
        for tap in taps {
            let left =
                self.client.ask(&limit, "tap-multicast-remove", &[tap.as_str().into()], |_| {});
            left.map(|_| ()).or_else(FpgaError::unless_refused)?;
        }
        self.forget_design();
        self.client.ask(&limit, "progdev", &[], |_| {})?;
        Ok(())
    }

    /// Tells whether gateware runs.
    ///
    /// returns: 'ready' if it does; old servers tell another word
    ///
    /// Nothing on the board changes.
    ///
    /// raises RuntimeError: no gateware runs, or it cannot be used yet
    #[effect(read)]
    pub fn status(&mut self, cx: &Context<'_>) -> Result<String, FpgaError> {
        let limit = self.limit(cx, 0);
        let reply = self.client.ask(&limit, "status", &[], |_| {});
        let word = match reply.map(|mut reply| reply.next_arg().map(|word| lossy(word))) {
            Ok(word) => word,
            Err(KatcpError::Refused { .. }) if self.client.fpga() == FpgaState::Down => {
                return Err(FpgaError::NotProgrammed { board: self.client.board().clone() });
            }
            Err(error) => return Err(error.into()),
        };
        Ok(word.unwrap_or_else(|| match self.client.fpga() {
            FpgaState::Unknown => "ok".into(),
            state => state.as_str().into(),
        }))
    }

    /// Deletes a file on the board.
    ///
    /// boffile: its name, see listbof()
    ///
    /// Gateware that runs goes on running.
    ///
    /// raises KeyError: the board has no such file
    /// raises RuntimeError: the board refused
    #[effect(admin)]
    pub fn delbof(&mut self, cx: &Context<'_>, boffile: &str) -> Result<(), FpgaError> {
        let limit = self.limit(cx, 0);
        self.check_file(&limit, boffile)?;
        self.client.ask(&limit, "delbof", &[boffile.into()], |_| {})?;
        Ok(())
    }

    /// Keeps a chunk of a gateware file that is too large for one call, for the upload that follows.
    ///
    /// data: the chunk
    /// offset: where in the file it belongs: behind the chunks before it; 0 starts anew
    /// returns: bytes kept so far
    ///
    /// Nothing on the board changes.
    ///
    /// raises ValueError: a chunk is missing before this one, or the file is larger than 128 MiB
    #[effect(write)]
    pub fn upload_chunk(
        &mut self,
        data: &[u8],
        #[default(0)] offset: u64,
    ) -> Result<u64, FpgaError> {
        self.stage(data, offset)
    }

    /// Puts a gateware file on the board, where progdev() finds it.
    ///
    /// bof_file: the content of a .bof or .fpg file, also compressed; or the name of a file in the agent's
    ///   gateware_dir; None for what upload_chunk() kept
    /// port: the port that the board opens for the transfer
    /// file_name: the name that the file gets on the board; None for its name in gateware_dir
    /// sha256: what the file's SHA-256 must be, in hexadecimal digits; None if that need not be checked
    ///
    /// A file of that name is replaced. Gateware that runs goes on running. Tells a caller who asks for progress.
    ///
    /// raises ValueError: it is no gateware, its SHA-256 is another, or it has no name
    /// raises FileNotFoundError: the agent's gateware_dir has no such file
    /// raises RuntimeError: the board refused, or did not get all of it
    #[effect(admin)]
    pub fn upload_bof(
        &mut self,
        cx: &Context<'_>,
        bof_file: Option<&[u8]>,
        #[default(7148)] port: u16,
        #[default(None)] file_name: Option<&str>,
        #[default(None)] sha256: Option<&str>,
    ) -> Result<(), FpgaError> {
        let file = self.file(bof_file, sha256)?;
        let name = file_name.map(str::to_owned).or(file.name).ok_or(FpgaError::NoName)?;
        if !is_file_name(&name) {
            return Err(FpgaError::BadValue {
                what: "argument 'file_name'",
                value: format!("'{}'", name.escape_debug()),
                must_be: "a bare name of letters, digits, '_', '-' and '.'",
            });
        }
        let limit = Limit::new(cx, self.timeout.max(UPLOAD));
        let size = file.bytes.len() as u64;
        let args = [u32::from(port).into(), name.as_str().into(), Arg::Uint(size)];
        self.client.send(&limit, "uploadbof", &args)?;
        // A transfer that broke is replied to only when the board has given up, half a minute later.
        let pushed = self.client.push(&limit, port, &file.bytes, ("uploadbof", true));
        pushed.inspect_err(|_| self.client.give_up())?;
        self.client.replied(Some(&limit), "uploadbof")?;
        Ok(())
    }

    /// Loads gateware from the caller into the FPGA, in place of what runs there, and waits until it runs.
    ///
    /// filename: the content of a .bof or .fpg file, also compressed; or the name of a file in the agent's
    ///   gateware_dir; None for what upload_chunk() kept
    /// port: the port that the board opens for the transfer; None for one at random
    /// timeout: seconds until the gateware must run, 0.001 to 3600; None for 60
    /// sha256: what the file's SHA-256 must be, in hexadecimal digits; None if that need not be checked
    ///
    /// All registers get their initial values. Nothing is kept on the board beyond its next start. A file that will
    /// not do is refused before anything is changed; after any other failure no gateware runs. May be repeated.
    ///
    /// raises ValueError: it is no gateware, or its SHA-256 is another
    /// raises FileNotFoundError: the agent's gateware_dir has no such file
    /// raises RuntimeError: the gateware did not come to run
    #[effect(admin)]
    pub fn upload_to_ram_and_program(
        &mut self,
        cx: &Context<'_>,
        filename: Option<&[u8]>,
        #[default(None)] port: Option<u16>,
        #[default(None)] timeout: Option<f64>,
        #[default(None)] sha256: Option<&str>,
    ) -> Result<(), FpgaError> {
        let timeout = super::timeout(timeout)?;
        let file = self.file(filename, sha256)?;
        let whole = uncompressed(&file.bytes)?;
        let design = Design::of_file(&Gateware::parse(&whole)?);
        let limit = Limit::new(cx, timeout.unwrap_or(PROGRAM));
        let port = port
            .unwrap_or_else(|| PORTS.0 + u16::try_from(random(PORTS.1.into())).unwrap_or_default());
        self.forget_design();
        self.client.ask(&limit, "progremote", &[u32::from(port).into()], |_| {})?;
        let before = self.client.changes();
        // From here on the board tells only in its log what went wrong.
        self.client.listen(false);
        let pushed = self.client.push(&limit, port, &file.bytes, ("progremote", false));
        let ready = pushed.map_err(FpgaError::from).and_then(|()| self.await_ready(&limit, before));
        let logs = self.client.logs();
        if !ready? {
            let board = self.client.board().clone();
            return Err(FpgaError::NotLoaded { board, logs });
        }
        self.client.ask(&limit, "fpgastatus", &[], |_| {})?;
        self.design = Some((self.client.changes(), design));
        Ok(())
    }
}

impl Fpga {
    /// Whether the gateware under way became ready; `false` once the board has logged an error and a moment passed.
    fn await_ready(&mut self, limit: &Limit<'_>, before: u64) -> Result<bool, FpgaError> {
        let mut grace: Option<Limit<'_>> = None;
        loop {
            if self.client.fpga() == FpgaState::Ready && self.client.changes() > before {
                return Ok(true);
            }
            if limit.is_over() || grace.as_ref().is_some_and(Limit::is_over) {
                return Ok(false);
            }
            if self.client.has_logged() && grace.is_none() {
                grace = Some(limit.at_most(GRACE));
            }
            self.client.wait_for_news(grace.as_ref().unwrap_or(limit))?;
        }
    }

    /// Sees to it that the board has `file`, where it tells which it has: its server takes the running gateware
    /// down before it looks for the new one.
    fn check_file(&mut self, limit: &Limit<'_>, file: &str) -> Result<(), FpgaError> {
        let files = match self.bof_files(limit) {
            Ok(files) => files,
            Err(FpgaError::Katcp(KatcpError::Refused { .. })) => return Ok(()),
            Err(error) => return Err(error),
        };
        // Files whose name begins with a dot are not listed, and some servers list none at all. A path is no name.
        let is_hidden = file.starts_with('.') && !file.contains('/');
        if files.is_empty() || is_hidden || files.iter().any(|known| known == file) {
            return Ok(());
        }
        Err(FpgaError::NoFile {
            board: self.client.board().clone(),
            file: file.to_owned(),
            meant: did_you_mean(file, files.iter().map(String::as_str)).map(str::to_owned),
        })
    }

    fn bof_files(&mut self, limit: &Limit<'_>) -> Result<Vec<String>, FpgaError> {
        let mut files = Vec::new();
        self.client.ask(limit, "listbof", &[], |mut inform| {
            files.extend(inform.next_arg().map(|file| lossy(file)));
        })?;
        Ok(files)
    }

    fn forget_design(&mut self) {
        self.devices.forget();
        self.design = None;
    }
}
