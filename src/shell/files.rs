//! The files that are served, read into memory at start and at SIGHUP.
//!
//! This is the only place where a served path and the file system meet, and it is not a request
//! that brings them together: the folder is walked once, and what was found is the whole site.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::site::{FILES_MAX, File};

/// Bytes of all files together.
const SITE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Folders within folders. A link may make a circle.
const DEPTH_MAX: usize = 16;

/// The page that comes with the program.
pub(super) fn built_in() -> Folder {
    let file = |path: &str, bytes: &[u8]| File { path: path.to_owned(), bytes: bytes.to_vec() };
    let files = vec![
        file("/index.html", include_bytes!("../../www/index.html")),
        file("/style.css", include_bytes!("../../www/style.css")),
        file("/chat.js", include_bytes!("../../www/chat.js")),
        file("/favicon.svg", include_bytes!("../../www/favicon.svg")),
    ];
    Folder { files, strays: Vec::new() }
}

/// What a folder holds.
#[derive(Debug)]
pub(super) struct Folder {
    /// What is served.
    pub(super) files: Vec<File>,
    /// Links that lead out of it, which are not.
    pub(super) strays: Vec<PathBuf>,
}

/// Reads a folder: no names that begin with a dot, no link that leaves it, at most 64 MiB in all.
/// An error names the file.
pub(super) fn read(folder: &Path) -> io::Result<Folder> {
    let root = fs::canonicalize(folder).map_err(|error| named(folder, &error))?;
    let found = Folder { files: Vec::new(), strays: Vec::new() };
    let mut walk = Walk { found, bytes: 0, root: root.clone() };
    walk.folder(&root, "", 0)?;
    Ok(walk.found)
}

struct Walk {
    found: Folder,
    bytes: u64,
    root: PathBuf,
}

impl Walk {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> io::Result<()> {
        if depth > DEPTH_MAX {
            return Err(named(folder, &io::Error::other("folders are nested too deeply")));
        }
        let mut entries = fs::read_dir(folder)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(|error| named(folder, &error))?;
        // In an order that does not depend on the file system, so that errors do not either.
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(named(&entry.path(), &io::Error::other("the name is not UTF-8")));
            };
            if !name.starts_with('.') {
                self.entry(&entry.path(), &format!("{prefix}/{name}"), depth)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, place: &Path, path: &str, depth: usize) -> io::Result<()> {
        let real = fs::canonicalize(place).map_err(|error| named(place, &error))?;
        if !real.starts_with(&self.root) {
            self.found.strays.push(place.to_owned());
            return Ok(());
        }
        let kind = fs::metadata(&real).map_err(|error| named(place, &error))?;
        if kind.is_dir() {
            return self.folder(&real, path, depth + 1);
        }
        if !kind.is_file() {
            return Err(named(place, &io::Error::other("neither a file nor a folder")));
        }
        let left = SITE_BYTES_MAX - self.bytes;
        let mut bytes = Vec::new();
        fs::File::open(&real)
            .and_then(|file| file.take(left + 1).read_to_end(&mut bytes))
            .map_err(|error| named(place, &error))?;
        if bytes.len() as u64 > left || self.found.files.len() == FILES_MAX {
            let why = format!("more than 64 MiB or {FILES_MAX} files in all");
            return Err(named(place, &io::Error::other(why)));
        }
        self.bytes += bytes.len() as u64;
        self.found.files.push(File { path: path.to_owned(), bytes });
        Ok(())
    }
}

fn named(place: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", place.display()))
}
