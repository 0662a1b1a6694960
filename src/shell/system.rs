//! What the machine allows: descriptors, memory, random bytes.

use std::{fs, io};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, clock_gettime};

use super::secret;
use crate::config::{self, Machine};
use crate::metrics::Process;

/// Reads what the configuration must fit into: descriptors, memory, sockets from systemd.
pub fn machine() -> Machine {
    let hard = getrlimit(Resource::Nofile).maximum;
    Machine {
        descriptors_hard: hard.unwrap_or(u64::MAX),
        memory_bytes: [cgroup_bytes(), machine_bytes()].into_iter().flatten().min(),
        activated_sockets: config::environment("LISTEN_FDS").is_some()
            && config::environment("LISTEN_PID")
                .is_none_or(|pid| pid == std::process::id().to_string()),
        admin_credential: secret::has_admin_credential(),
    }
}

/// Raises the soft limit on descriptors to the hard one. An error if `needed` is more than that.
pub(super) fn raise_descriptors(needed: u64) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum;
    if limit.current != hard {
        setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard })?;
    }
    match hard {
        Some(hard) if hard < needed => {
            Err(io::Error::other(format!("the hard limit (RLIMIT_NOFILE) is {hard}")))
        }
        Some(_) | None => Ok(()),
    }
}

/// Makes glibc map every large piece of memory by itself, as musl does, so that the piece goes back
/// to the system when it is freed. glibc maps pieces from some size on, but raises that size to the
/// largest piece freed so far; then memory that is free by our account stays with the process.
/// Measured with ten thousand attackers: 67.6 MiB resident and rising, 62.6 with this.
#[cfg(target_env = "gnu")]
pub(super) fn map_large_memory() {
    let bytes = crate::pool::MAPPED_BYTES as libc::c_int;
    #[expect(unsafe_code, reason = "an option of the allocator has no safe wrapper")]
    // SAFETY: the call takes two numbers and changes how later allocations are made, nothing else.
    // It fails where another allocator was put into glibc's place, whose affair this then is.
    let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, bytes) };
}

/// Does nothing: musl maps every large piece of memory by itself.
#[cfg(not(target_env = "gnu"))]
pub(super) fn map_large_memory() {}

/// Reads 32 bytes from the system's random source: all the chance that the server ever gets.
pub(super) fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    let filled = getrandom(&mut seed, GetRandomFlags::empty())?;
    if filled != seed.len() {
        return Err(io::Error::other("the system gave too few"));
    }
    Ok(seed)
}

/// What the system says of this process; `None` where there is no `/proc`.
pub(super) fn process() -> Option<Process> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let resident: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    // No page has 2^63 bytes.
    let resident_bytes = resident * rustix::param::page_size() as u64;
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu_us =
        u64::try_from(cpu.tv_sec).ok()? * 1_000_000 + u64::try_from(cpu.tv_nsec).ok()? / 1000;
    let descriptors_max = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    Some(Process { resident_bytes, cpu_us, descriptors: descriptors()?, descriptors_max })
}

/// How many descriptors this process has open.
fn descriptors() -> Option<u64> {
    // From Linux 6.2 on the folder's size is their number; listing ten thousand takes milliseconds.
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    if size > 0 {
        return Some(size);
    }
    // One is the listing's own.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64)
}

/// The memory limit of this process's cgroup (version 2), if there is one.
fn cgroup_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut limit = None;
    // A group further up may have a lower limit.
    let mut folder = format!("/sys/fs/cgroup{path}");
    while folder.len() >= "/sys/fs/cgroup".len() {
        let text = fs::read_to_string(format!("{folder}/memory.max")).unwrap_or_default();
        let bytes = text.trim().parse::<u64>().ok();
        limit = [limit, bytes].into_iter().flatten().min();
        folder.truncate(folder.rfind('/').unwrap_or(0));
    }
    limit
}

/// The memory of the machine, in bytes; `None` if `/proc/meminfo` does not tell.
fn machine_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
