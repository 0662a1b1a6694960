//! The files that are served, in memory: looked up by path, borrowed by number.
//!
//! No path of a request ever reaches the file system: the shell reads the files at start or at a
//! reload, and a path that is not a key of this table is not found. At most two generations of
//! files live at a time. Beside the current one that is either the one before, while responses with
//! its files are under way, or the next, while it is read: a reload begins when the one before has
//! gone.
//!
//! The surprise: a generation grows file by file, and a file piece by piece, between turns of the
//! loop. So the table is a tree, which is never moved as a whole, and the validator is hashed while
//! the pieces come.

use std::collections::BTreeMap;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

/// A file as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// The path at which the file is served, such as `/style.css`; it begins with `/`.
    pub path: String,
    /// The file's bytes, fewer than 4 GiB; the shell refuses far smaller files.
    pub bytes: Vec<u8>,
}

/// A file that is served.
#[derive(Debug)]
pub struct Asset {
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// The strong validator (RFC 9110 §8.8.3), quotes included: equal bytes have an equal one on
    /// every instance.
    pub etag: String,
    /// The file's bytes.
    pub bytes: Box<[u8]>,
}

/// The number of an asset, for as long as its generation lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AssetId {
    generation: u8,
    index: u16,
}

impl AssetId {
    /// Which of the two generations the asset belongs to: 0 or 1. A file of the admin listener
    /// belongs to neither, and has 2.
    pub fn generation(self) -> u8 {
        self.generation
    }
}

/// What a path of the current generation leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// A file.
    Asset(AssetId),
    /// A folder with an `index.html`, named without its slash: relative links need it.
    Folder,
}

/// The files that are served at one time, by path.
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

/// The bytes of a file while its pieces come.
#[derive(Debug)]
pub struct Content {
    bytes: Vec<u8>,
    /// A hash of the pieces so far. The key is fixed: a validator guards against stale copies, not
    /// against an adversary, and must be equal on all instances behind a balancer.
    hasher: SipHasher13,
}

/// The generation of files that is served, and at times the one before.
#[derive(Debug)]
pub struct Site {
    generations: [Option<Generation>; 2],
    current: u8,
    /// Whether these are the files that come with the program, which have a content policy of their
    /// own.
    built_in: bool,
    /// The files of the admin listener, which are the program's own and are never replaced.
    admin: Generation,
}

/// In place of the number of a generation: a file of the admin listener.
const ADMIN: u8 = 2;

/// The most files of a site; the shell refuses more when it reads them.
pub const FILES_MAX: usize = u16::MAX as usize;

impl Site {
    /// A site that serves `files`; `built_in` says whether these are the program's own.
    ///
    /// # Panics
    /// With more than [`FILES_MAX`] files.
    pub fn new(files: impl Into<Generation>, built_in: bool) -> Site {
        let generations = [Some(files.into()), None];
        Site { generations, current: 0, built_in, admin: Generation::default() }
    }

    /// Has these files for the admin listener, for as long as the server runs.
    ///
    /// # Panics
    /// With more than [`FILES_MAX`] files.
    pub fn with_admin(self, files: impl Into<Generation>) -> Site {
        Site { admin: files.into(), ..self }
    }

    /// The number of the generation before the current one, until it is released.
    pub fn before(&self) -> Option<u8> {
        let before = 1 - self.current;
        self.generations[usize::from(before)].is_some().then_some(before)
    }

    /// Forgets the generation before the current one. Responses with its files must have been
    /// ended.
    pub fn release(&mut self) {
        self.generations[usize::from(1 - self.current)] = None;
    }

    /// Serves `files` from now on, instead of the current generation.
    ///
    /// # Panics
    /// If the generation before the current one was not released, or with more than [`FILES_MAX`]
    /// files.
    pub fn replace(&mut self, files: impl Into<Generation>) {
        assert!(self.before().is_none(), "there are never three generations");
        self.current = 1 - self.current;
        self.generations[usize::from(self.current)] = Some(files.into());
    }

    /// What `path`, which was decoded already, leads to in the current generation.
    pub fn find(&self, path: &str) -> Option<Found> {
        let generation = self.current;
        match *self.generations[usize::from(generation)].as_ref()?.paths.get(path)? {
            Entry::Asset(index) => Some(Found::Asset(AssetId { generation, index })),
            Entry::Folder => Some(Found::Folder),
        }
    }

    /// The file of the admin listener at `path`; nothing is served in folders there.
    pub fn find_admin(&self, path: &str) -> Option<AssetId> {
        match *self.admin.paths.get(path)? {
            Entry::Asset(index) => Some(AssetId { generation: ADMIN, index }),
            Entry::Folder => None,
        }
    }

    /// The file with this number.
    ///
    /// # Panics
    /// If the generation of the file was released.
    pub fn asset(&self, id: AssetId) -> &Asset {
        let generation = match id.generation {
            ADMIN => Some(&self.admin),
            number => self.generations[usize::from(number)].as_ref(),
        };
        &generation.expect("its readers were ended before").assets[usize::from(id.index)]
    }

    /// Whether the files that come with the program are served.
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

    /// Whether something is served at `path`.
    pub fn contains(&self, path: &str) -> bool {
        self.paths.contains_key(path)
    }

    /// How many files this generation has.
    pub fn files(&self) -> usize {
        self.assets.len()
    }

    /// How many bytes all files of this generation hold together.
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
    /// An empty file with room for `bytes` bytes; if more come, all of them are moved.
    pub fn with_capacity(bytes: usize) -> Content {
        Content { bytes: Vec::with_capacity(bytes), hasher: SipHasher13::new() }
    }

    /// Lets `append` append to the bytes that are there, and to do nothing else with them.
    pub fn extend_with<T>(&mut self, append: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let before = self.bytes.len();
        let result = append(&mut self.bytes);
        self.hasher.write(&self.bytes[before..]);
        result
    }

    /// How many bytes are there.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// The strong validator of the bytes that are there, quotes included.
    fn etag(&self) -> String {
        let hash = self.hasher.finish128();
        format!("\"{:016x}{:016x}\"", hash.h1, hash.h2)
    }
}

/// The `Content-Type` by the ending of the name, as nginx' `mime.types` has it;
/// `application/octet-stream` for unknown endings.
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
    fn files_of_the_admin_listener_are_others_and_stay() {
        let mut site = Site::new(vec![file("/index.html", b"public")], false)
            .with_admin(vec![file("/index.html", b"admin"), file("/a/index.html", b"deep")]);
        let page = site.find_admin("/").expect("a page");
        let Some(Found::Asset(public)) = site.find("/") else { panic!() };
        assert_eq!((&*site.asset(page).bytes, page.generation()), (b"admin".as_slice(), 2));
        assert_eq!(&*site.asset(public).bytes, b"public");
        assert_eq!(
            (site.find_admin("/a"), site.find_admin("/b"), site.find("/a/")),
            (None, None, None)
        );
        for _ in 0..2 {
            site.replace(vec![file("/index.html", b"new")]);
            assert_eq!(&*site.asset(page).bytes, b"admin");
            site.release();
        }
        assert_eq!(Site::new(Vec::new(), true).find_admin("/"), None);
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
