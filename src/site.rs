//! The files that are served, in memory: looked up by path, borrowed by number.
//!
//! Nothing that a request holds ever reaches the file system: the files were read by the shell at
//! start or at a reload, and a path that is not a key of this table is not found. At most two
//! generations live at a time. The second one is that from before the current one, while responses
//! with its files are under way, or one that is being read: the one has gone before the other
//! begins.
//!
//! The surprise: a generation grows file by file, and a file piece by piece, between turns of the
//! loop. So its table is a tree, which is never moved as a whole, and the validator is hashed while
//! the pieces come.

use std::collections::BTreeMap;
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

/// Files that are served together.
#[derive(Debug, Default)]
pub struct Generation {
    assets: Vec<Asset>,
    paths: BTreeMap<String, Entry>,
    bytes: u64,
}

/// What a path leads to within a generation.
#[derive(Clone, Copy, Debug)]
enum Entry {
    Asset(u16),
    Folder,
}

/// What a file holds, while its pieces come.
#[derive(Debug)]
pub struct Content {
    bytes: Vec<u8>,
    /// Over what is there so far. Its key is fixed: a validator guards against stale copies, not
    /// against an adversary, and must be equal on all instances behind a balancer.
    hasher: SipHasher13,
}

/// Two generations of files.
#[derive(Debug)]
pub struct Site {
    generations: [Option<Generation>; 2],
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
    pub fn new(files: impl Into<Generation>, built_in: bool) -> Site {
        Site { generations: [Some(files.into()), None], current: 0, built_in }
    }

    /// The generation from before the current one, until it is released.
    pub fn before(&self) -> Option<u8> {
        let before = 1 - self.current;
        self.generations[usize::from(before)].is_some().then_some(before)
    }

    /// Forgets the generation from before the current one. Responses with its files must have been
    /// ended.
    pub fn release(&mut self) {
        self.generations[usize::from(1 - self.current)] = None;
    }

    /// Serves other files from now on. The generation from before must have been released.
    ///
    /// # Panics
    /// If it was not, or with more than [`FILES_MAX`] files.
    pub fn replace(&mut self, files: impl Into<Generation>) {
        assert!(self.before().is_none(), "there are never three generations");
        self.current = 1 - self.current;
        self.generations[usize::from(self.current)] = Some(files.into());
    }

    /// What a decoded path leads to.
    pub fn find(&self, path: &str) -> Option<Found> {
        let generation = self.current;
        match *self.generations[usize::from(generation)].as_ref()?.paths.get(path)? {
            Entry::Asset(index) => Some(Found::Asset(AssetId { generation, index })),
            Entry::Folder => Some(Found::Folder),
        }
    }

    /// A file of a generation that lives.
    ///
    /// # Panics
    /// If its generation was released.
    pub fn asset(&self, id: AssetId) -> &Asset {
        let generation = self.generations[usize::from(id.generation)].as_ref();
        &generation.expect("its readers were ended before").assets[usize::from(id.index)]
    }

    /// Whether the built-in page is served.
    pub fn is_built_in(&self) -> bool {
        self.built_in
    }
}

impl Generation {
    /// Adds a file that is served at `path`, such as `/style.css`. Bounded work: no file that was
    /// added before is looked at.
    ///
    /// # Panics
    /// With more than [`FILES_MAX`] files.
    pub fn add(&mut self, path: String, content: Content) {
        assert!(self.assets.len() < FILES_MAX);
        let index = u16::try_from(self.assets.len()).expect("there are not so many");
        if let Some(folder) = path.strip_suffix("index.html") {
            self.paths.insert(folder.to_owned(), Entry::Asset(index));
            if let Some(bare) = folder.strip_suffix('/').filter(|bare| !bare.is_empty()) {
                self.paths.insert(bare.to_owned(), Entry::Folder);
            }
        }
        self.bytes += content.bytes.len() as u64;
        self.assets.push(Asset {
            content_type: content_type(&path),
            etag: content.etag(),
            bytes: content.bytes.into_boxed_slice(),
        });
        self.paths.insert(path, Entry::Asset(index));
    }

    /// Whether something is served at this path.
    pub fn contains(&self, path: &str) -> bool {
        self.paths.contains_key(path)
    }

    /// How many files it has.
    pub fn files(&self) -> usize {
        self.assets.len()
    }

    /// What they hold, all together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl From<Vec<File>> for Generation {
    fn from(files: Vec<File>) -> Generation {
        let mut generation = Generation::default();
        for file in files {
            let mut content = Content::with_capacity(0);
            content.extend_with(|bytes| *bytes = file.bytes);
            generation.add(file.path, content);
        }
        generation
    }
}

impl Content {
    /// Nothing yet, with room for so many bytes: those that do not fit will be moved.
    pub fn with_capacity(bytes: usize) -> Content {
        Content { bytes: Vec::with_capacity(bytes), hasher: SipHasher13::new() }
    }

    /// Lets `append` put something behind what is there; it changes nothing else.
    pub fn extend_with<T>(&mut self, append: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let before = self.bytes.len();
        let result = append(&mut self.bytes);
        self.hasher.write(&self.bytes[before..]);
        result
    }

    /// How much there is.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// The strong validator of what is there.
    fn etag(&self) -> String {
        let hash = self.hasher.finish128();
        format!("\"{:016x}{:016x}\"", hash.h1, hash.h2)
    }
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
        assert_eq!(site.before(), Some(old.generation()));
        site.release();
        assert_eq!(site.before(), None);
        site.replace(vec![file("/index.html", b"newer")]);
        assert_eq!(&*site.asset(new).bytes, b"new");
        assert_eq!(site.before(), Some(new.generation()));
    }

    #[test]
    #[should_panic(expected = "never three")]
    fn a_third_generation_is_our_mistake() {
        let mut site = Site::new(vec![file("/index.html", b"one")], false);
        site.replace(vec![file("/index.html", b"two")]);
        site.replace(vec![file("/index.html", b"three")]);
    }

    #[test]
    fn a_validator_does_not_depend_on_how_the_bytes_came() {
        let text: Vec<u8> = (0..1000_u16).map(|n| (n % 251) as u8).collect();
        let whole = Site::new(vec![file("/a", &text)], false);
        let Some(Found::Asset(whole_id)) = whole.find("/a") else { panic!() };
        for piece in [1, 7, 8, 64, 999] {
            let mut content = Content::with_capacity(10);
            for part in text.chunks(piece) {
                content.extend_with(|bytes| bytes.extend_from_slice(part));
            }
            let mut generation = Generation::default();
            generation.add("/a".to_owned(), content);
            let site = Site::new(generation, false);
            let Some(Found::Asset(id)) = site.find("/a") else { panic!() };
            assert_eq!(site.asset(id).etag, whole.asset(whole_id).etag);
            assert_eq!(site.asset(id).bytes, whole.asset(whole_id).bytes);
        }
    }
}
