//! What the machine allows: descriptors, memory, random bytes.

use std::{fs, io};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::system::sysinfo;
use rustix::time::{ClockId, clock_gettime};

use super::{activation, secret};
use crate::config::Machine;
use crate::metrics::Process;

/// Reads what the configuration must fit into: descriptors, memory, sockets from systemd.
pub fn machine() -> Machine {
    let hard = getrlimit(Resource::Nofile).maximum;
    let (group_bytes, machine_bytes) = (cgroup_bytes(), machine_bytes());
    Machine {
        descriptors_hard: hard.unwrap_or(u64::MAX),
        memory_bytes: Some(group_bytes.map_or(machine_bytes, |group| group.min(machine_bytes))),
        memory_is_shared: group_bytes.is_none_or(|group| group >= machine_bytes),
        activated: activation::activated(),
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

/// Removes variables from the environment, so that no program which this process starts takes them
/// for its own. Leaves them where other threads might be reading the environment.
pub(super) fn forget<'a>(names: impl Iterator<Item = &'a &'a str>) {
    let threads = fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads != 1 {
        return;
    }
    for name in names {
        // SAFETY: this process has one thread, as was just seen, which is here and not in the
        // middle of reading the environment.
        #[expect(unsafe_code, reason = "removing a variable is safe only in a single thread")]
        unsafe {
            std::env::remove_var(name);
        }
    }
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

/// The memory limit of this process's control group, of either version, if there is one.
fn cgroup_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let lowest = |(root, path, file): (&str, &str, &str)| {
        let read = |folder: &str| fs::read_to_string(format!("{root}{folder}/{file}")).ok();
        lowest_limit(path, read)
    };
    groups.lines().filter_map(memory_group).filter_map(lowest).min()
}

/// Where the memory limits are of the group that a line of `/proc/self/cgroup` (cgroups(7)) names:
/// the folder of all groups, the path below it, the file with the limit. `None` for a group that
/// limits no memory.
fn memory_group(line: &str) -> Option<(&'static str, &str, &'static str)> {
    let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
    match controllers {
        "" => Some(("/sys/fs/cgroup", path, "memory.max")),
        _ if controllers.split(',').any(|name| name == "memory") => {
            Some(("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"))
        }
        _ => None,
    }
}

/// The lowest limit of the group at `path` and of those that it is in, which hold for it as well.
/// `read` returns the text of a limit; one that is no number stands for none.
fn lowest_limit(path: &str, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let mut folder = path.trim_end_matches('/');
    let mut lowest = None;
    loop {
        let limit = read(folder).and_then(|text| text.trim().parse::<u64>().ok());
        lowest = [lowest, limit].into_iter().flatten().min();
        let Some((above, _)) = folder.rsplit_once('/') else { return lowest };
        folder = above;
    }
}

/// The memory of the machine, in bytes. Asked of the kernel where `/proc/meminfo` is hidden, as it
/// is by `ProcSubset=pid` of systemd; otherwise that file is believed, since a container's may say
/// less.
fn machine_bytes() -> u64 {
    let told = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_bytes(&text));
    told.unwrap_or_else(kernel_bytes)
}

/// The memory of the machine, in bytes, as the kernel says (sysinfo(2)).
fn kernel_bytes() -> u64 {
    let told = sysinfo();
    told.totalram.saturating_mul(u64::from(told.mem_unit))
}

/// What a text like that of `/proc/meminfo` has for the whole memory, in bytes.
fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_as_much_memory_as_the_kernel_says() {
        let text = "MemTotal:        8061524 kB\nMemFree:         1 kB\n";
        assert_eq!(total_bytes(text), Some(8_061_524 << 10));
        for bad in ["", "MemFree: 1 kB", "MemTotal:", "MemTotal: 5", "MemTotal: x kB"] {
            assert_eq!(total_bytes(bad), None, "{bad}");
        }
        assert_eq!(total_bytes("MemTotal: 18446744073709551615 kB"), None);
        // Neither is zero; both are the same where nobody has hidden or changed the file.
        assert!(kernel_bytes() > 1 << 20 && machine_bytes() > 1 << 20);
    }

    #[test]
    fn a_line_of_either_version_names_the_group_that_limits_memory() {
        let v2 = Some(("/sys/fs/cgroup", "/system.slice/elbow.service", "memory.max"));
        assert_eq!(memory_group("0::/system.slice/elbow.service"), v2);
        let v1 = Some(("/sys/fs/cgroup/memory", "/a:b", "memory.limit_in_bytes"));
        assert_eq!(memory_group("4:memory:/a:b"), v1);
        assert_eq!(memory_group("4:cpu,memory:/a:b"), v1);
        for other in ["", "4", "4:memory", "9:name=systemd:/", "1:cpu,cpuacct:/", "2:mem:/"] {
            assert_eq!(memory_group(other), None, "{other}");
        }
    }

    #[test]
    fn the_lowest_limit_of_all_groups_above_holds() {
        let limit = |path: &str, limits: &[(&str, &str)]| {
            lowest_limit(path, |folder| {
                let found = limits.iter().find(|(group, _)| *group == folder);
                found.map(|(_, text)| (*text).to_owned())
            })
        };
        assert_eq!(limit("/a/b", &[("/a/b", "3\n"), ("/a", "2\n"), ("", "max\n")]), Some(2));
        assert_eq!(limit("/a/b", &[("/a/b", "max\n"), ("/a", "max\n")]), None);
        assert_eq!(limit("/a/b", &[("", "5")]), Some(5), "a container sees the root alone");
        assert_eq!(limit("/", &[("", "5")]), Some(5));
        assert_eq!(limit("/../..", &[("", "5")]), Some(5), "a group above the namespace");
        assert_eq!(limit("/a", &[("/a", "-1"), ("", "")]), None);
    }
}
