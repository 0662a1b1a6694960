//! The files that are served, read into memory at start and at SIGHUP.
//!
//! Only here do served paths meet the file system, and no request takes part in that: the folder is
//! walked once, and what was found is the whole site. The walk is done in portions, so that the
//! turns of the loop go on during a reload. What a portion costs does not depend on how many files
//! there are or how large they are.
//!
//! The surprise: somebody may write to the folder during the walk. A file that changes while it is
//! read is an error, since half of the old and half of the new is neither.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use miniz_oxide::inflate;
use rustix::fs::OFlags;

use crate::site::{Content, FILES_MAX, Generation};
use crate::text::{Composed, shown_text};

/// The most bytes of all files together.
const SITE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The most folders within each other, since a link may make a circle.
const DEPTH_MAX: usize = 16;

/// What a portion may cost, in bytes: to read, copy and hash so many takes some 300 µs.
const PORTION_BYTES: usize = 256 * 1024;
/// The most bytes that are read by one call.
const READ_BYTES: usize = 64 * 1024;
/// What looking up and opening a file or a folder counts as, in bytes.
const ENTRY_BYTES: usize = 16 * 1024;
/// What noting a name counts as, in bytes.
const NAME_BYTES: usize = 512;

/// The paths at which Socket.IO pages expect their client, and the files that they get there: a
/// script, or the same script with the exports of a module.
const CLIENTS: [(&str, &[&str]); 3] = [
    ("/socket.io/socket.io.js", &["socket.io.js"]),
    ("/socket.io/socket.io.min.js", &["socket.io.js"]),
    ("/socket.io/socket.io.esm.min.js", &["socket.io.js", "socket.io.export.js"]),
];

/// All files of the program's own pages, packed by build.rs.
const PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pages"));

/// The names and the lengths of these files, in their order.
const PAGES: &[(&str, usize)] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// The files of the program's own pages, for as long as they are copied from.
struct Pages(Vec<u8>);

impl Pages {
    /// Unpacks all files: some 100 KB, which takes less than a millisecond.
    fn unpack() -> Pages {
        let length = PAGES.iter().map(|(_, length)| length).sum();
        let pages = inflate::decompress_to_vec_with_limit(PACKED, length);
        Pages(pages.expect("build.rs has packed it and tried"))
    }

    /// The bytes of the file with this name in `www`.
    fn file(&self, wanted: &str) -> &[u8] {
        let mut at = 0;
        for (name, length) in PAGES {
            if *name == wanted {
                return &self.0[at..at + length];
            }
            at += length;
        }
        panic!("build.rs does not pack {wanted}")
    }
}

/// What a walk has found in a folder.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// The files that are served.
    pub(super) files: Generation,
    /// How many links lead out of the folder; what they lead to is not served.
    pub(super) strays: usize,
    /// The first link that leads out of the folder.
    pub(super) stray: Option<PathBuf>,
}

/// The page that comes with the program, with all files that belong to it.
pub(super) fn built_in() -> Folder {
    let (mut folder, pages) = (Folder::default(), Pages::unpack());
    for name in ["index.html", "style.css", "chat.js", "favicon.svg"] {
        folder.add(&format!("/{name}"), &[pages.file(name)]);
    }
    folder.add_socket_io(&pages);
    folder
}

/// The status page, which comes with the program and is served by the admin listener alone.
pub(super) fn status_page() -> Generation {
    let (mut folder, pages) = (Folder::default(), Pages::unpack());
    for name in ["index.html", "status.css", "status.js"] {
        folder.add(&format!("/{name}"), &[pages.file(&format!("status/{name}"))]);
    }
    folder.add("/favicon.svg", &[pages.file("favicon.svg")]);
    folder.files
}

/// Reads a folder as a whole, at start, when nobody waits for anything else. Errors name the file.
pub(super) fn read(folder: &Path) -> io::Result<Folder> {
    let mut reading = Reading::begin(folder)?;
    while !reading.go_on()? {}
    Ok(reading.finish())
}

impl Folder {
    /// Adds a file that has these parts.
    fn add(&mut self, path: &str, parts: &[&[u8]]) {
        let mut content = Content::with_capacity(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            content.extend_with(|content| content.extend_from_slice(part));
        }
        self.files.add(path.to_owned(), content);
    }

    /// Adds the client for pages that ask their server for one, at each of its paths at which the
    /// folder has no file.
    fn add_socket_io(&mut self, pages: &Pages) {
        for (path, names) in CLIENTS {
            if !self.files.contains(path) {
                let parts: Vec<&[u8]> = names.iter().map(|name| pages.file(name)).collect();
                self.add(path, &parts);
            }
        }
    }
}

/// A folder that is being read: no names that begin with a dot, no link that leads out of the
/// folder, at most 64 MiB in all. Errors name the file.
#[derive(Debug)]
pub(super) struct Reading {
    root: PathBuf,
    /// The folders on the way to where the walk is, from the outermost on.
    folders: Vec<Listing>,
    file: Option<Begun>,
    found: Folder,
    /// How many names wait in all listings.
    names: usize,
}

/// A folder on the way of the walk, in which something is left to be looked at.
#[derive(Debug)]
struct Listing {
    place: PathBuf,
    /// The path of the folder on the site, with which all paths in it begin.
    prefix: String,
    /// The system's list of names, until all of it was read.
    more: Option<fs::ReadDir>,
    /// The names that are still to be looked at, once the list was read. Their order, and so which
    /// error comes first, does not depend on the file system.
    names: BTreeSet<String>,
}

/// A file of which something is left to be read.
#[derive(Debug)]
struct Begun {
    place: PathBuf,
    path: String,
    file: fs::File,
    /// The file's length, and when it was last written to, from before anything was read.
    stamp: (u64, Option<SystemTime>),
    content: Content,
}

impl Reading {
    /// Begins to read `folder`. Errors name the file.
    pub(super) fn begin(folder: &Path) -> io::Result<Reading> {
        let root = fs::canonicalize(folder).map_err(|error| named(folder, &error))?;
        let mut reading = Reading {
            root: root.clone(),
            folders: Vec::new(),
            file: None,
            found: Folder::default(),
            names: 0,
        };
        reading.enter(root, String::new())?;
        Ok(reading)
    }

    /// Reads on. Returns whether everything was read. Errors name the file.
    ///
    /// Bounded work: [`PORTION_BYTES`] in all, and one file's metadata more.
    pub(super) fn go_on(&mut self) -> io::Result<bool> {
        let mut left = PORTION_BYTES;
        while left > 0 {
            let Some(cost) = self.step()? else { return Ok(true) };
            left = left.saturating_sub(cost);
        }
        Ok(false)
    }

    /// Ends the walk and returns what was found.
    pub(super) fn finish(mut self) -> Folder {
        self.found.add_socket_io(&Pages::unpack());
        self.found
    }

    /// Does one thing: a piece of a file, a name, or the look at what a name leads to. Returns its
    /// cost in bytes; `None` if nothing is left.
    fn step(&mut self) -> io::Result<Option<usize>> {
        if let Some(begun) = self.file.take() {
            return self.read(begun).map(Some);
        }
        let Some(listing) = self.folders.last_mut() else { return Ok(None) };
        if let Some(more) = &mut listing.more {
            let entry = more.next().transpose().map_err(|error| named(&listing.place, &error))?;
            match entry {
                Some(entry) => self.note(&entry)?,
                None => listing.more = None,
            }
            return Ok(Some(NAME_BYTES));
        }
        let Some(name) = listing.names.pop_first() else {
            self.folders.pop();
            return Ok(Some(NAME_BYTES));
        };
        let (place, path) = (listing.place.join(&name), format!("{}/{name}", listing.prefix));
        self.names -= 1;
        self.look_at(place, path)?;
        Ok(Some(ENTRY_BYTES))
    }

    /// Notes a name of the innermost folder.
    fn note(&mut self, entry: &fs::DirEntry) -> io::Result<()> {
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            return Err(named(&entry.path(), &io::Error::other("the name is not UTF-8")));
        };
        if name.starts_with('.') {
            return Ok(());
        }
        if self.names == FILES_MAX {
            return Err(too_much(&entry.path()));
        }
        if let Some(listing) = self.folders.last_mut() {
            self.names += usize::from(listing.names.insert(name.to_owned()));
        }
        Ok(())
    }

    fn enter(&mut self, place: PathBuf, prefix: String) -> io::Result<()> {
        if self.folders.len() > DEPTH_MAX {
            return Err(named(&place, &io::Error::other("folders are nested too deeply")));
        }
        let more = Some(fs::read_dir(&place).map_err(|error| named(&place, &error))?);
        self.folders.push(Listing { place, prefix, more, names: BTreeSet::new() });
        Ok(())
    }

    fn look_at(&mut self, place: PathBuf, path: String) -> io::Result<()> {
        let real = fs::canonicalize(&place).map_err(|error| named(&place, &error))?;
        if !real.starts_with(&self.root) {
            self.found.strays += 1;
            self.found.stray.get_or_insert(place);
            return Ok(());
        }
        let kind = fs::metadata(&real).map_err(|error| named(&place, &error))?;
        if kind.is_dir() {
            return self.enter(real, path);
        }
        // The file may have become something else, a pipe for instance; opening that must not wait.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
        let open = || {
            let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(&real)?;
            let status = file.metadata()?;
            Ok((file, status))
        };
        let opened = if kind.is_file() { Some(open()) } else { None };
        let opened = opened.transpose().map_err(|error| named(&place, &error))?;
        let Some((file, status)) = opened.filter(|(_, status)| status.is_file()) else {
            return Err(named(&place, &io::Error::other("neither a file nor a folder")));
        };
        let is_over = status.len() > SITE_BYTES_MAX - self.found.files.bytes();
        if is_over || self.found.files.files() == FILES_MAX {
            return Err(too_much(&place));
        }
        // There is room for the whole file from the beginning, since growing would move what is
        // there.
        let content = Content::with_capacity(usize::try_from(status.len()).unwrap_or(0));
        let stamp = (status.len(), status.modified().ok());
        self.file = Some(Begun { place, path, file, stamp, content });
        Ok(())
    }

    /// Reads a piece of a file. Returns how many bytes that were.
    fn read(&mut self, mut begun: Begun) -> io::Result<usize> {
        let mut file = (&begun.file).take(READ_BYTES as u64);
        let count = begun.content.extend_with(|bytes| file.read_to_end(bytes));
        let count = count.map_err(|error| named(&begun.place, &error))?;
        let left_bytes = SITE_BYTES_MAX - self.found.files.bytes();
        if begun.content.length() as u64 > left_bytes {
            return Err(too_much(&begun.place));
        }
        if count == READ_BYTES {
            self.file = Some(begun);
            return Ok(count);
        }
        let status = begun.file.metadata().map_err(|error| named(&begun.place, &error))?;
        if (status.len(), status.modified().ok()) != begun.stamp {
            let why = io::Error::other("it was changed while it was read");
            return Err(named(&begun.place, &why));
        }
        self.found.files.add(begun.path, begun.content);
        Ok(count)
    }
}

fn too_much(place: &Path) -> io::Error {
    named(place, &io::Error::other(format!("more than 64 MiB or {FILES_MAX} files in all")))
}

/// An error as the operator is told of it: with the place where it happened.
fn named(place: &Path, error: &io::Error) -> io::Error {
    let place = place.display().to_string();
    let error_text = error.to_string();
    let line = format!("{}: {}", shown_text(&place), Composed(&error_text));
    io::Error::new(error.kind(), line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder for one test, removed at its end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let name = format!("elbow-files-{}-{name}", std::process::id());
            let place = std::env::temp_dir().join(name);
            fs::create_dir_all(&place).expect("a folder can be made");
            Place(place)
        }

        fn put(&self, name: &str, bytes: &[u8]) {
            let place = self.0.join(name);
            fs::create_dir_all(place.parent().expect("it is inside")).expect("it can be made");
            fs::write(place, bytes).expect("there is room");
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Reads a folder to its end. Returns the number of portions, and what was found.
    fn portions(place: &Place) -> io::Result<(usize, Folder)> {
        let mut reading = Reading::begin(&place.0)?;
        let mut portions = 1;
        while !reading.go_on()? {
            portions += 1;
        }
        Ok((portions, reading.finish()))
    }

    #[test]
    fn a_large_file_is_read_in_portions() {
        let place = Place::new("large");
        place.put("large", &vec![b'x'; 5 << 20]);
        let (count, folder) = portions(&place).expect("it is there");
        let least = (5 << 20) / PORTION_BYTES;
        assert!((least..=least + 1).contains(&count), "{count} portions");
        assert_eq!(folder.files.bytes(), (5 << 20) + CLIENTS.map(bytes_of).iter().sum::<u64>());
    }

    #[test]
    fn the_client_is_a_script_and_a_module() {
        let place = Place::new("clients");
        place.put("socket.io/socket.io.min.js", b"own");
        let (_, folder) = portions(&place).expect("it is there");
        assert!(CLIENTS.iter().all(|(path, _)| folder.files.contains(path)));
        let [script, minified, module] = CLIENTS.map(bytes_of);
        assert_eq!(folder.files.bytes(), 3 + script + module, "its own stays");
        assert!(script == minified && script < module);
        let pages = Pages::unpack();
        let text = |name| String::from_utf8(pages.file(name).to_vec()).expect("it is text");
        assert!(!text("socket.io.js").contains("\nexport "));
        assert!(text("socket.io.export.js").contains("\nexport "));
    }

    /// How many bytes are served at a path of [`CLIENTS`].
    fn bytes_of((_, names): (&str, &[&str])) -> u64 {
        let pages = Pages::unpack();
        names.iter().map(|name| pages.file(name).len() as u64).sum()
    }

    #[test]
    fn the_files_of_the_pages_are_those_of_the_repository() {
        let pages = Pages::unpack();
        let www = Path::new(env!("CARGO_MANIFEST_DIR")).join("www");
        for (name, _) in PAGES {
            assert_eq!(fs::read(www.join(name)).ok().as_deref(), Some(pages.file(name)), "{name}");
        }
        assert!(PACKED.len() * 5 / 2 < pages.0.len(), "{} bytes", PACKED.len());
        assert_eq!((built_in().files.files(), status_page().files()), (7, 4));
    }

    #[test]
    fn many_small_files_are_read_in_portions() {
        let place = Place::new("small");
        for number in 0..400 {
            place.put(&format!("{}/{number}.txt", number % 7), format!("{number}").as_bytes());
        }
        place.put(".hidden/file", b"not served");
        let (count, folder) = portions(&place).expect("it is there");
        assert!(count >= 400 * ENTRY_BYTES / PORTION_BYTES, "{count} portions");
        assert_eq!(folder.files.files(), 400 + CLIENTS.len());
        assert!(folder.files.contains("/6/20.txt") && !folder.files.contains("/.hidden/file"));
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_an_error_that_names_it() {
        let place = Place::new("changing");
        place.put("changing\n", &vec![b'x'; 1 << 20]);
        let mut reading = Reading::begin(&place.0).expect("it is there");
        assert!(!reading.go_on().expect("it is there"));
        place.put("changing\n", &vec![b'y'; (1 << 20) + 1]);
        let error = loop {
            match reading.go_on() {
                Ok(is_all) => assert!(!is_all, "half of the one and half of the other"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.ends_with("changing\\n: it was changed while it was read"), "{error}");
    }

    #[test]
    fn more_than_fits_is_refused_before_it_is_read() {
        let place = Place::new("fits");
        let file = fs::File::create(place.0.join("sparse")).expect("it can be made");
        file.set_len(SITE_BYTES_MAX + 1).expect("it has holes");
        let error = portions(&place).map(|_| ()).expect_err("it is too large").to_string();
        assert!(error.contains("sparse: more than 64 MiB"), "{error}");
    }

    #[test]
    fn links_that_leave_the_folder_are_counted_and_not_followed() {
        let place = Place::new("links");
        for number in 0..3 {
            let link = place.0.join(format!("link{number}"));
            std::os::unix::fs::symlink("/etc/hostname", link).expect("it can be made");
        }
        std::os::unix::fs::symlink(".", place.0.join("self")).expect("it can be made");
        let error = portions(&place).map(|_| ()).expect_err("a circle").to_string();
        assert!(error.ends_with("folders are nested too deeply"), "{error}");
        fs::remove_file(place.0.join("self")).expect("it is there");
        let (_, folder) = portions(&place).expect("it is there");
        assert_eq!((folder.strays, folder.files.files()), (3, CLIENTS.len()));
        assert!(folder.stray.is_some_and(|place| place.ends_with("link0")));
    }
}
