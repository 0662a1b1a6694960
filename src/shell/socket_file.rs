//! The file of a Unix socket that is listened on (unix(7)): made, replaced if it is stale, removed.
//!
//! Deals with the file alone; what is accepted from the socket is `net.rs`'s business.
//!
//! The surprise: a file is no proof of a server. Whoever was killed has left one behind, to which
//! nobody can connect; so a connection is tried before the file is replaced. A server that is about
//! to listen looks just like that, so all servers that begin in a folder take turns, by a lock on
//! the folder itself, which leaves nothing behind. And a file with our path need not be ours at the
//! end, so it is removed only if it is the one that was made here.

use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

/// How often the lock of a folder is tried, and how long is waited in between: 5 s in all. Another
/// server has it for less than a millisecond; whoever has it for longer is no server.
const LOCK_TRIES: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A socket's file, which is removed when this is dropped. The socket should live until then: a
/// file whose socket was closed is anybody's to replace, and the next may have its inode.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode of the file that was made.
    identity: (u64, u64),
}

impl SocketFile {
    /// Listens at `path`, with the permissions `mode` and a queue of `backlog` connections. Nobody
    /// connects before the permissions hold. Of several that are called at once for one path, in
    /// whatever process, one succeeds.
    ///
    /// # Errors
    /// Somebody listens at `path`, something else than a socket is there, the file cannot be made,
    /// or its folder is locked by somebody else for seconds.
    pub(super) fn listen(path: &Path, mode: u32, backlog: i32) -> io::Result<(Socket, SocketFile)> {
        let _turn = lock_folder(path)?;
        clear_way(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file =
            SocketFile { path: path.to_owned(), identity: identity(&fs::symlink_metadata(path)?) };
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        socket.listen(backlog)?;
        Ok((socket, file))
    }
}

/// Locks the folder of `path` against other servers (flock(2)) until the result is dropped.
fn lock_folder(path: &Path) -> io::Result<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new(".")))
        .map_err(|error| io::Error::new(error.kind(), format!("its folder: {error}")))?;
    for _ in 0..LOCK_TRIES {
        match folder.try_lock() {
            Ok(()) => return Ok(folder),
            Err(TryLockError::WouldBlock) => sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::other("somebody has locked its folder (flock)"))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| identity(&metadata) == self.identity);
        if is_ours {
            // Should this fail, the next server finds a stale file and replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Removes a file at `path` that a server has left behind.
///
/// # Errors
/// Somebody listens there, or something else is there.
fn clear_way(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::other("something that is no socket is there"));
    }
    let mut is_live = is_live(path);
    if matches!(&is_live, Err(error) if error.kind() == io::ErrorKind::PermissionDenied) {
        // The mode may let only others connect (connect(2) wants write permission): whoever owns
        // the file may ask all the same.
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        is_live = self::is_live(path);
        fs::set_permissions(path, metadata.permissions())?;
    }
    if is_live? { Err(io::Error::other("somebody listens there")) } else { fs::remove_file(path) }
}

/// Whether somebody listens at `path`, where a socket's file is.
fn is_live(path: &Path) -> io::Result<bool> {
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A backlog that is full is not waited for.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    /// Connections that may wait to be accepted. Linux lets one more wait, which a probe may be.
    const BACKLOG: i32 = 1;

    /// A folder of the test's own, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let name = format!("elbow-socket-{}-{name}", std::process::id());
            let folder = Folder(std::env::temp_dir().join(name));
            fs::create_dir(&folder.0).unwrap();
            folder
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_file_has_its_permissions_and_goes_with_its_socket() {
        let folder = Folder::new("mode");
        let path = folder.0.join("a");
        for mode in [0o600, 0o666, 0] {
            let (_socket, file) = SocketFile::listen(&path, mode, BACKLOG).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
            drop(file);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_stale_file_is_replaced_and_a_live_one_is_not() {
        let folder = Folder::new("stale");
        let path = folder.0.join("a");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves its file behind");
        let (socket, file) = SocketFile::listen(&path, 0o600, BACKLOG).unwrap();
        let live = |path: &Path| SocketFile::listen(path, 0o600, BACKLOG).unwrap_err().to_string();
        assert_eq!(live(&path), "somebody listens there");
        // The backlog, in which that question stays, is full.
        let _waiting = UnixStream::connect(&path).unwrap();
        assert_eq!(live(&path), "somebody listens there");
        assert!(path.exists());
        drop((socket, file));
        let _datagrams = UnixDatagram::bind(&path).unwrap();
        assert!(SocketFile::listen(&path, 0o600, BACKLOG).is_err() && path.exists());
    }

    /// Whoever is not root may not connect to such a file, though it is their own.
    #[test]
    fn a_file_of_any_mode_is_asked_whether_somebody_listens() {
        let folder = Folder::new("any");
        let path = folder.0.join("a");
        for mode in [0, 0o060, 0o400, 0o660] {
            let (socket, file) = SocketFile::listen(&path, mode, BACKLOG).unwrap();
            let error = SocketFile::listen(&path, mode, BACKLOG).unwrap_err();
            assert_eq!(error.to_string(), "somebody listens there", "{mode:o}");
            let kept = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(kept, mode, "a live file keeps its mode");
            // As if its server had been killed.
            core::mem::forget(file);
            drop(socket);
            drop(SocketFile::listen(&path, mode, BACKLOG).unwrap());
        }
    }

    #[test]
    fn what_is_no_socket_stays() {
        let folder = Folder::new("other");
        for name in ["file", "link", "folder"] {
            let path = folder.0.join(name);
            match name {
                "file" => fs::write(&path, "x").unwrap(),
                "link" => std::os::unix::fs::symlink("nowhere", &path).unwrap(),
                _ => fs::create_dir(&path).unwrap(),
            }
            let error = SocketFile::listen(&path, 0o600, BACKLOG).unwrap_err();
            assert_eq!(error.to_string(), "something that is no socket is there", "{name}");
            assert!(fs::symlink_metadata(&path).is_ok());
        }
        assert!(SocketFile::listen(&folder.0.join("no/a"), 0o600, BACKLOG).is_err());
    }

    #[test]
    fn a_file_of_somebody_else_stays() {
        let folder = Folder::new("else");
        let path = folder.0.join("a");
        let (socket, file) = SocketFile::listen(&path, 0o600, BACKLOG).unwrap();
        fs::remove_file(&path).unwrap();
        let _successor = UnixListener::bind(&path).unwrap();
        drop((socket, file));
        assert!(path.exists());
    }

    #[test]
    fn of_those_that_begin_at_once_one_listens() {
        let folder = Folder::new("once");
        let path = folder.0.join("a");
        for round in 0..200 {
            if round % 2 == 0 {
                // As a server that was killed leaves it.
                drop(UnixListener::bind(&path).unwrap());
            }
            let begin = std::sync::Barrier::new(4);
            let listen = || {
                begin.wait();
                SocketFile::listen(&path, 0o600, BACKLOG)
            };
            let begun: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(listen)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let (won, lost): (Vec<_>, Vec<_>) = begun.into_iter().partition(Result::is_ok);
            assert_eq!(won.len(), 1, "round {round}");
            for error in lost {
                assert_eq!(error.unwrap_err().to_string(), "somebody listens there");
            }
            let (socket, file) = won.into_iter().next().unwrap().unwrap();
            // The probes of the others are in front of it, and are no connections any more.
            let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            socket.set_nonblocking(true).unwrap();
            while socket.accept().is_ok() {}
            client.connect(&SockAddr::unix(&path).unwrap()).unwrap();
            assert!(socket.accept().is_ok(), "the file leads to the one that has won");
            drop((file, socket));
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_folder_that_somebody_keeps_locked_is_waited_for_and_one_that_is_not_there_is_not() {
        let folder = Folder::new("locked");
        let path = folder.0.join("a");
        let lock = File::open(&folder.0).unwrap();
        lock.lock().unwrap();
        std::thread::scope(|scope| {
            let listening = scope.spawn(|| SocketFile::listen(&path, 0o600, BACKLOG));
            sleep(3 * LOCK_PAUSE);
            assert!(!path.exists() && !listening.is_finished());
            lock.unlock().unwrap();
            let (socket, file) = listening.join().unwrap().unwrap();
            drop((file, socket));
        });
        let error = SocketFile::listen(&folder.0.join("no/a"), 0o600, BACKLOG).unwrap_err();
        assert!(error.to_string().starts_with("its folder: "), "{error}");
    }
}
