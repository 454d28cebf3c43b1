//! Gateware files on their way to the board: from the caller, whole or in chunks, or from the agent's own directory.

use super::{Fpga, FpgaError, memory::hex};
use flate2::read::GzDecoder;
use proximity_proto::gateware::is_gzip;
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use std::{
    borrow::Cow,
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// The largest gateware file, compressed or not: twice the bitstream of the largest FPGA of the kind.
const LARGEST: u64 = 128 << 20;
/// The longest name of a file.
const NAME: usize = 128;

/// A gateware file.
pub(super) struct File<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    /// Its name in the agent's directory, if it is from there.
    pub(super) name: Option<String>,
}

impl Fpga {
    /// Keeps a chunk of a file that is too large for one call.
    pub(super) fn stage(&mut self, data: &[u8], offset: u64) -> Result<u64, FpgaError> {
        if offset == 0 {
            self.staged.clear();
        }
        let staged = self.staged.len() as u64;
        if offset != staged {
            return Err(FpgaError::BadChunk { offset, staged });
        }
        if staged + data.len() as u64 > LARGEST {
            return Err(FpgaError::TooLarge { largest: LARGEST });
        }
        self.staged.extend_from_slice(data);
        Ok(self.staged.len() as u64)
    }

    /// The file that a caller means: its content, the name of one in the agent's directory, or, with `None`, what
    /// was staged, which is used up.
    pub(super) fn file<'a>(
        &mut self,
        given: Option<&'a [u8]>,
        sha256: Option<&str>,
    ) -> Result<File<'a>, FpgaError> {
        let file = match given {
            None if self.staged.is_empty() => return Err(FpgaError::NothingStaged),
            None => File { bytes: std::mem::take(&mut self.staged).into(), name: None },
            Some(bytes) if is_gateware(bytes) => File { bytes: bytes.into(), name: None },
            Some(name) => {
                let name = std::str::from_utf8(name).ok().filter(|name| is_file_name(name));
                let name = name.ok_or(FpgaError::NoGateware)?;
                let folder = self.gateware_dir.as_deref().ok_or(FpgaError::NoDirectory)?;
                let bytes = read_file(folder, name)
                    .map_err(|source| FpgaError::File { file: name.to_owned(), source })?;
                File { bytes: bytes.into(), name: Some(name.to_owned()) }
            }
        };
        let digest = hex(&Sha256::digest(&file.bytes));
        match sha256 {
            Some(expected) if !expected.eq_ignore_ascii_case(&digest) => {
                Err(FpgaError::Digest { expected: expected.to_owned(), digest })
            }
            _ if !is_gateware(&file.bytes) => Err(FpgaError::NoGateware),
            _ => Ok(file),
        }
    }
}

/// Whether bytes begin as gateware does: `.bof`, `.fpg`, or either compressed.
fn is_gateware(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x13BOF") || bytes.starts_with(b"#!/bin/kcpfpg") || is_gzip(bytes)
}

/// Whether a name is a bare one: it leads nowhere but to a file in its directory.
pub(super) fn is_file_name(name: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    name.len() <= NAME
        && name.bytes().all(sound)
        && name.bytes().next().is_some_and(|first| first != b'.' && first != b'-')
}

/// Reads a plain file: no link, which may lead out of the directory, and no device, which may never end.
fn read_file(folder: &Path, name: &str) -> io::Result<Vec<u8>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(folder.join(name))?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a plain file of up to 128 MiB",
        ));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file as it is uncompressed.
pub(super) fn uncompressed(bytes: &[u8]) -> Result<Cow<'_, [u8]>, FpgaError> {
    if !is_gzip(bytes) {
        return Ok(bytes.into());
    }
    let mut whole = Vec::new();
    let read = GzDecoder::new(bytes).take(LARGEST + 1).read_to_end(&mut whole);
    read.map_err(|source| FpgaError::File { file: "the compressed file".into(), source })?;
    if whole.len() as u64 > LARGEST {
        return Err(FpgaError::TooLarge { largest: LARGEST });
    }
    Ok(whole.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_names_are_file_names() {
        for name in ["a.fpg", "Design_2-1.bof", "_x", "9"] {
            assert!(is_file_name(name), "{name}");
        }
        let long = "x".repeat(NAME + 1);
        for name in [
            "",
            ".",
            "..",
            ".hidden",
            "../x",
            "a/b",
            "/etc/passwd",
            "-rf",
            "a b",
            "a\0",
            "ä.fpg",
            &long,
        ] {
            assert!(!is_file_name(name), "{name}");
        }
    }

    #[test]
    fn links_and_devices_are_not_read() {
        let folder = std::env::temp_dir().join(format!("proximity-files-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("real.fpg"), b"#!/bin/kcpfpg\n").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.join("link.fpg")).unwrap();
        std::fs::create_dir_all(folder.join("folder.fpg")).unwrap();
        assert!(read_file(&folder, "real.fpg").is_ok());
        assert!(read_file(&folder, "link.fpg").is_err());
        assert!(read_file(&folder, "folder.fpg").is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
