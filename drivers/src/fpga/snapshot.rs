//! Snapshot blocks: memories in the gateware that capture a signal from a trigger on.
//!
//! A block `D` has the registers `D_ctrl`, `D_status`, `D_bram`, and, if it was built with them, `D_trig_offset`,
//! `D_tr_en_cnt` and `D_val`. The older kind has `D_addr`, which tells the last word instead of the length.

use super::{
    Fpga, FpgaError,
    plain::{Dict, Plain},
};
use crate::katcp_client::Limit;
use proximity_proto::{Context, Later, expose};
use std::time::Duration;

/// How often the block is asked whether it is done.
const POLL: Duration = Duration::from_millis(50);
/// How long it may take for a caller who waits for ever.
const MOST: Duration = Duration::from_hours(1);
/// Bit 31: still capturing.
const BUSY: u32 = 1 << 31;

/// What to capture, and how it ends.
#[derive(Clone)]
struct Capture {
    block: String,
    /// The register that tells the progress.
    progress: String,
    /// The memories, and the bytes of each sample in them.
    brams: Vec<(String, u32)>,
    circular: bool,
    offset: i64,
    /// Whether the progress register counts words and begins at 0: the older kind.
    counts_words: bool,
    extra: bool,
    started: Duration,
    until: Duration,
    /// What the progress register held when it was last looked at.
    last: Option<u32>,
}

#[expose(part = Snapshots)]
impl Fpga {
    /// Captures a signal with a snapshot block and returns it.
    ///
    /// dev_name: the block's name, which its registers begin with
    /// man_trig: trigger now, without waiting for the signal's own trigger
    /// man_valid: take every clock cycle as valid
    /// wait_period: seconds to wait for the block at most; negative for as long as the caller waits
    /// offset: from which byte after the trigger on; negative for none
    /// circular_capture: capture all the time, and stop at the trigger
    /// get_extra_val: read the block's extra register too
    /// arm: False to take what an earlier snapshot_arm() has started
    /// returns: a dictionary: length (bytes), offset, data, and val if asked for
    ///
    /// Other calls to the same board are served while the block captures.
    ///
    /// raises KeyError: the running gateware has no such block
    /// raises RuntimeError: the block did not finish, or captured nothing
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)] // a published signature
    pub fn snapshot_get(
        &mut self,
        cx: &Context<'_>,
        dev_name: &str,
        #[default(false)] man_trig: bool,
        #[default(false)] man_valid: bool,
        #[default(1.0)] wait_period: f64,
        #[default(-1)] offset: i64,
        #[default(false)] circular_capture: bool,
        #[default(false)] get_extra_val: bool,
        #[default(true)] arm: bool,
    ) -> Result<Later<Self, Dict>, FpgaError> {
        let limit = self.limit(cx, 0);
        if arm {
            self.arm(&limit, dev_name, [man_trig, man_valid, circular_capture], offset)?;
        }
        let capture = Capture {
            block: dev_name.to_owned(),
            progress: format!("{dev_name}_status"),
            brams: vec![("data".into(), 1)],
            circular: circular_capture,
            offset,
            counts_words: false,
            extra: get_extra_val,
            started: cx.now(),
            until: deadline(cx, wait_period),
            last: None,
        };
        self.await_capture(cx, capture)
    }

    /// Arms a snapshot block, and does not wait for it.
    ///
    /// dev_name: the block's name, which its registers begin with
    /// man_trig: trigger now, without waiting for the signal's own trigger
    /// man_valid: take every clock cycle as valid
    /// offset: from which byte after the trigger on; negative for none
    /// circular_capture: capture all the time, and stop at the trigger
    ///
    /// What the block holds is gone. snapshot_get(dev_name, arm=False) gets what it captures.
    ///
    /// raises KeyError: the running gateware has no such block
    #[allow(clippy::fn_params_excessive_bools)] // a published signature
    pub fn snapshot_arm(
        &mut self,
        cx: &Context<'_>,
        dev_name: &str,
        #[default(false)] man_trig: bool,
        #[default(false)] man_valid: bool,
        #[default(-1)] offset: i64,
        #[default(false)] circular_capture: bool,
    ) -> Result<(), FpgaError> {
        let limit = self.limit(cx, 0);
        self.arm(&limit, dev_name, [man_trig, man_valid, circular_capture], offset)
    }

    /// Captures a signal with a snapshot block of the older kind, which may have several memories.
    ///
    /// dev_name: the block's name, which its registers begin with
    /// brams: the memories' names without the block's
    /// man_trig: trigger now, without waiting for the signal's own trigger
    /// man_valid: take every clock cycle as valid
    /// wait_period: seconds to wait for the block at most; negative for as long as the caller waits
    /// offset: from which word after the trigger on; negative for none
    /// circular_capture: capture all the time, and stop at the trigger
    /// word_mult: 32-bit words a sample in each memory
    /// returns: a dictionary: length (samples), offset, and the bytes of each memory by its name
    ///
    /// Other calls to the same board are served while the block captures.
    ///
    /// raises KeyError: the running gateware has no such block
    /// raises RuntimeError: the block did not finish, or captured nothing
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)] // a published signature
    pub fn get_snap(
        &mut self,
        cx: &Context<'_>,
        dev_name: &str,
        brams: Vec<&str>,
        #[default(false)] man_trig: bool,
        #[default(false)] man_valid: bool,
        #[default(1.0)] wait_period: f64,
        #[default(-1)] offset: i64,
        #[default(false)] circular_capture: bool,
        #[default(1)] word_mult: u32,
    ) -> Result<Later<Self, Dict>, FpgaError> {
        let limit = self.limit(cx, 0);
        self.arm(&limit, dev_name, [man_trig, man_valid, circular_capture], offset)?;
        let bytes = word_mult.saturating_mul(4);
        let capture = Capture {
            block: dev_name.to_owned(),
            progress: format!("{dev_name}_addr"),
            brams: brams.into_iter().map(|name| (name.to_owned(), bytes)).collect(),
            circular: circular_capture,
            offset,
            counts_words: true,
            extra: false,
            started: cx.now(),
            until: deadline(cx, wait_period),
            last: None,
        };
        self.await_capture(cx, capture)
    }
}

impl Fpga {
    fn arm(
        &mut self,
        limit: &Limit<'_>,
        block: &str,
        [trigger, valid, circular]: [bool; 3],
        offset: i64,
    ) -> Result<(), FpgaError> {
        if offset >= 0 {
            let offset = u32::try_from(offset).map_err(|_| FpgaError::BadValue {
                what: "argument 'offset'",
                value: offset.to_string(),
                must_be: "at most 4294967295",
            })?;
            self.write_verified(limit, &format!("{block}_trig_offset"), 0, &offset.to_be_bytes())?;
        }
        let base = u32::from(trigger) << 1 | u32::from(valid) << 2 | u32::from(circular) << 3;
        // The block starts at the edge of bit 0.
        let ctrl = format!("{block}_ctrl");
        self.write_verified(limit, &ctrl, 0, &base.to_be_bytes())?;
        self.write_verified(limit, &ctrl, 0, &(base + 1).to_be_bytes())
    }

    fn await_capture(
        &mut self,
        cx: &Context<'_>,
        mut capture: Capture,
    ) -> Result<Later<Self, Dict>, FpgaError> {
        let limit = self.limit(cx, 0);
        let progress = self.read_word(&limit, &capture.progress, 0)?;
        // The older kind has no busy bit unless it was armed with an offset: done is what stands still.
        let done = progress & BUSY == 0
            && (!capture.counts_words || (progress != 0 && capture.last == Some(progress)));
        if done {
            return self.captured(cx, &capture, progress).map(Later::Ready);
        }
        if cx.now() >= capture.until {
            return Err(FpgaError::Capture {
                block: capture.block,
                waited_s: cx.now().saturating_sub(capture.started).as_secs_f64(),
                bytes: u64::from(progress & !BUSY),
            });
        }
        capture.last = Some(progress);
        let at = capture.until.min(cx.now() + POLL);
        Ok(Later::at(at, move |board: &mut Self, cx| Ok(board.await_capture(cx, capture)?)))
    }

    fn captured(
        &mut self,
        cx: &Context<'_>,
        capture: &Capture,
        progress: u32,
    ) -> Result<Dict, FpgaError> {
        let block = &capture.block;
        if progress == 0 {
            return Err(FpgaError::Capture {
                block: block.clone(),
                waited_s: cx.now().saturating_sub(capture.started).as_secs_f64(),
                bytes: 0,
            });
        }
        let limit = self.limit(cx, 0);
        // The older kind tells its last sample, the newer its length in bytes.
        let length = progress + u32::from(capture.counts_words);
        let before = if capture.circular || (capture.counts_words && capture.offset >= 0) {
            i64::from(self.read_word(&limit, &format!("{block}_tr_en_cnt"), 0)?)
                - i64::from(progress)
        } else {
            0
        };
        let mut result = Dict::default();
        result.add("length", length);
        result.add("offset", (before + capture.offset).max(0));
        for (name, sample) in &capture.brams {
            let bram = if capture.counts_words { name.as_str() } else { "bram" };
            let count = u64::from(length) * u64::from(*sample);
            let limit = self.limit(cx, count);
            let range = self.read_range(&limit, &format!("{block}_{bram}"), 0, count)?;
            let data = self.data.get(range).unwrap_or_default();
            result.add(name.as_str(), Plain::Bytes(data.to_vec()));
        }
        if capture.extra {
            result.add("val", self.read_word(&limit, &format!("{block}_val"), 0)?);
        }
        Ok(result)
    }
}

/// The end of a wait of `seconds`, or of the caller's own if that is nearer or `seconds` negative.
fn deadline(cx: &Context<'_>, seconds: f64) -> Duration {
    let wait = Duration::try_from_secs_f64(seconds).unwrap_or(MOST).min(MOST);
    // What is captured takes a moment to be read.
    cx.remaining().map_or(cx.now() + wait, |left| cx.now() + wait.min(left.mul_f64(0.9)))
}
