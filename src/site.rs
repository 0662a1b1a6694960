//! The files that are served, in memory: looked up by path, borrowed by number.
//!
//! Nothing that a request holds ever reaches the file system: the files were read by the shell at
//! start or at a reload, and a path that is not a key of this table is not found. At most two
//! generations live at a time, the current one and the one before, whose responses may still be
//! under way; whoever still reads the one before when a third comes is cut.

use std::collections::HashMap;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

/// A file as it was read: its path begins with `/`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// Where it is served, such as `/style.css`.
    pub path: String,
    /// What it holds. Files over 4 GiB are not for us; the shell refuses long before.
    pub bytes: Vec<u8>,
}

/// A file that is served.
#[derive(Debug)]
pub struct Asset {
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The strong validator, quotes included: the same bytes have the same on every instance.
    pub etag: String,
    /// What it holds.
    pub bytes: Box<[u8]>,
}

/// An asset, for as long as its generation lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AssetId {
    generation: u8,
    index: u16,
}

impl AssetId {
    /// Which of the two generations it belongs to.
    pub fn generation(self) -> u8 {
        self.generation
    }
}

/// What a path leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// A file.
    Asset(AssetId),
    /// A folder with an `index.html`, named without its slash: relative links need it.
    Folder,
}

#[derive(Debug, Default)]
struct Generation {
    assets: Vec<Asset>,
    paths: HashMap<String, Found>,
}

/// Two generations of files.
#[derive(Debug)]
pub struct Site {
    generations: [Generation; 2],
    current: u8,
    /// Whether these are the files that come with the program, which its own policy fits.
    built_in: bool,
}

/// Most files of a site; more is refused when they are read.
pub const FILES_MAX: usize = u16::MAX as usize;

impl Site {
    /// A site of these files.
    ///
    /// # Panics
    /// With more than [`FILES_MAX`] files.
    pub fn new(files: Vec<File>, built_in: bool) -> Site {
        let generations = [Generation::new(files, 0), Generation::default()];
        Site { generations, current: 0, built_in }
    }

    /// The generation whose place the next one will take.
    pub fn oldest(&self) -> u8 {
        1 - self.current
    }

    /// Serves other files from now on. Responses of the [`Site::oldest`] generation must have been
    /// ended before.
    ///
    /// # Panics
    /// With more than [`FILES_MAX`] files.
    pub fn replace(&mut self, files: Vec<File>) {
        self.current = self.oldest();
        self.generations[usize::from(self.current)] = Generation::new(files, self.current);
    }

    /// What a decoded path leads to.
    pub fn find(&self, path: &str) -> Option<Found> {
        self.generations[usize::from(self.current)].paths.get(path).copied()
    }

    /// A file of a generation that lives.
    pub fn asset(&self, id: AssetId) -> &Asset {
        &self.generations[usize::from(id.generation)].assets[usize::from(id.index)]
    }

    /// Whether the built-in page is served.
    pub fn is_built_in(&self) -> bool {
        self.built_in
    }
}

impl Generation {
    fn new(files: Vec<File>, generation: u8) -> Generation {
        assert!(files.len() <= FILES_MAX);
        let mut paths = HashMap::with_capacity(files.len());
        let mut assets = Vec::with_capacity(files.len());
        for (index, file) in files.into_iter().enumerate() {
            let found = Found::Asset(AssetId { generation, index: index as u16 });
            if let Some(folder) = file.path.strip_suffix("index.html") {
                paths.insert(folder.to_owned(), found);
                if let Some(bare) = folder.strip_suffix('/').filter(|bare| !bare.is_empty()) {
                    paths.insert(bare.to_owned(), Found::Folder);
                }
            }
            assets.push(Asset {
                content_type: content_type(&file.path),
                etag: etag(&file.bytes),
                bytes: file.bytes.into_boxed_slice(),
            });
            paths.insert(file.path, found);
        }
        Generation { assets, paths }
    }
}

/// A hash with a fixed key: a validator guards against stale copies, not against an adversary, and
/// must be equal on all instances behind a balancer.
fn etag(bytes: &[u8]) -> String {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    let hash = hasher.finish128();
    format!("\"{:016x}{:016x}\"", hash.h1, hash.h2)
}

/// By the name's ending, as nginx' `mime.types` has it; bytes without a known ending are bytes.
fn content_type(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" | "md" => "text/plain; charset=utf-8",
        "xml" => "text/xml; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "otf" => "font/otf",
        "wasm" => "application/wasm",
        "pdf" => "application/pdf",
        "mp3" => "audio/mpeg",
        "ogg" => "audio/ogg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, bytes: &[u8]) -> File {
        File { path: path.to_owned(), bytes: bytes.to_vec() }
    }

    #[test]
    fn a_folder_leads_to_its_index() {
        let site = Site::new(vec![file("/index.html", b"a"), file("/sub/index.html", b"b")], false);
        let bytes = |path| match site.find(path) {
            Some(Found::Asset(id)) => site.asset(id).bytes.to_vec(),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(bytes("/"), b"a");
        assert_eq!(bytes("/index.html"), b"a");
        assert_eq!(bytes("/sub/"), b"b");
        assert_eq!(site.find("/sub"), Some(Found::Folder));
        assert_eq!(site.find(""), None);
        assert_eq!(site.find("/../etc/passwd"), None);
    }

    #[test]
    fn the_generation_before_stays_readable() {
        let mut site = Site::new(vec![file("/index.html", b"old")], false);
        let Some(Found::Asset(old)) = site.find("/") else { panic!() };
        site.replace(vec![file("/index.html", b"new")]);
        let Some(Found::Asset(new)) = site.find("/") else { panic!() };
        assert_eq!(&*site.asset(old).bytes, b"old");
        assert_eq!(&*site.asset(new).bytes, b"new");
        assert_ne!(site.asset(old).etag, site.asset(new).etag);
        assert_eq!(site.oldest(), old.generation());
    }
}
