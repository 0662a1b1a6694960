//! Reading the files of `--token-key`, at start, on SIGHUP, and for `elbow check`.
//!
//! Leaves to others: what is in the files (`wire/key_file`), what is said of it (`report`).
//!
//! The surprise: only regular files are read. One that somebody else has to write to first would
//! stop the loop.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::config::KeyFile;
use crate::keys::{FILE_BYTES_MAX, Keys, Loaded};

/// Reads the keys of all files.
///
/// # Errors
/// A line that names the flag and the file, and never what is in that.
pub fn read(files: &[KeyFile]) -> Result<Loaded, String> {
    let paths = files.iter().map(|file| (file.kind, &*file.path));
    Keys::load(paths, read_file).map_err(|(number, error)| {
        let file = &files[number];
        format!("--token-key {file}: {error}")
    })
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("this is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("allowed are at most 64 KiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyKind;
    use std::path::PathBuf;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let name = format!("elbow-keys-{}-{name}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            fs::create_dir_all(&folder).expect("a folder can be made");
            Folder(folder)
        }

        fn file(&self, name: &str, bytes: &[u8]) -> KeyFile {
            let path = self.0.join(name);
            fs::write(&path, bytes).expect("there is room");
            KeyFile { kind: KeyKind::Hs256, path }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn files_are_read_and_what_is_wrong_names_flag_and_file() {
        let folder = Folder::new("read");
        let good = folder.file("good", b"thirty-two bytes and a line feed\n");
        let short = folder.file("short", b"secret words");
        let large = folder.file("large", &vec![b'x'; 64 * 1024 + 1]);
        let gone = KeyFile { kind: KeyKind::Es256, path: folder.0.join("gone") };
        let itself = KeyFile { kind: KeyKind::Jwks, path: folder.0.clone() };
        let (keys, skipped) = read(std::slice::from_ref(&good)).expect("it is a key");
        assert_eq!((keys.len(), skipped), (1, vec![0]));
        for (file, words) in [
            (&short, "a secret has at least 32 bytes"),
            (&large, "allowed are at most 64 KiB"),
            (&gone, "No such file or directory (os error 2)"),
            (&itself, "this is no regular file"),
        ] {
            let line = read(&[good.clone(), file.clone()]).map(|_| ()).expect_err("it is none");
            assert_eq!(line, format!("--token-key {file}: {words}"));
            assert!(!line.contains("secret words"));
        }
    }
}
