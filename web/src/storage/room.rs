//! Room on the disk: asked for before it is promised.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

/// Bytes that an ordinary user may still write below `folder`.
pub(super) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let found = statvfs(folder)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Reserves the blocks from `offset` to `length` without changing what the file's length says, so that a disk that fills up
/// says so now and not in the middle of the file. Filesystems that cannot are left alone.
///
/// # Errors
/// The disk is full, or refuses otherwise.
pub fn preallocate(file: &File, offset: u64, length: u64) -> io::Result<()> {
    if length <= offset {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::KEEP_SIZE, offset, length - offset) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes the part file of an upload and reserves its blocks.
///
/// # Errors
/// As [`preallocate`].
pub fn reserve(part: &Path, length: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(part)?;
    preallocate(&file, 0, length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn reserved_blocks_are_there_and_the_length_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("x.part");
        let before = free_bytes(folder.path()).unwrap();
        reserve(&part, 1 << 20).unwrap();
        let found = part.metadata().unwrap();
        assert_eq!(found.len(), 0);
        assert!(
            before > 0 && (found.blocks() == 0 || found.blocks() >= 2048),
            "{}",
            found.blocks()
        );
        // More than any disk has is refused at once, where reserving works at all.
        if found.blocks() > 0 {
            assert!(reserve(&part, 1 << 50).is_err());
        }
    }
}
