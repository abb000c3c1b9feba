//! Appending far more than the memory that a control group lets the process have: dirty pages are its own,
//! and each append may have to wait until some of them are written.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::common::{Payloads, bare::frame_bytes};
use crate::runs::{lateness, time_each};
use crate::ways::{self, Measure, Way, warm_page_cache};
use crate::{LATENESS, MIB, print};

const SIZE: usize = 1024;
/// A run that takes longer hangs.
const RUN_SECONDS: u32 = 60;

/// The argument that makes this program a run in a group.
pub const ROLE: &str = "--in-group";

pub fn compare(dir: &Path, is_quick: bool) {
    let (limit, bytes, rounds) =
        if is_quick { (32 * MIB, 64 * MIB, 1) } else { (64 * MIB, 512 * MIB, 3) };
    let group = match Group::create(limit) {
        Ok(group) => group,
        Err(needs) => return println!("\nLittle memory: skipped: needs {needs}"),
    };
    let mut random = fastrand::Rng::with_seed(7);
    let [mib, limit] = [bytes, limit].map(|bytes| bytes / MIB);
    for (what, group_dir) in [("all memory", None), ("little memory", Some(&*group.path))] {
        let mut results = vec![Vec::new(); ways::ALL.len()];
        let mut order: Vec<usize> = (0..ways::ALL.len()).collect();
        for _ in 0..rounds {
            random.shuffle(&mut order);
            for way in order.iter().copied() {
                results[way].push(run(ways::ALL[way].0, bytes, group_dir, dir));
            }
        }
        match group_dir {
            None => println!("\nAppending {mib} MiB in records of 1 KiB, each append timed: us"),
            Some(_) => println!(
                "\nThe same in {limit} MiB of memory ({}), page cache included:",
                group.version
            ),
        }
        print(what, &[&LATENESS[..], &["MiB/s"]].concat(), &results, 1);
    }
}

/// A process of its own, in the group, appends; this one, outside, reads back.
fn run(way: &str, bytes: u64, group: Option<&Path>, dir: &Path) -> Vec<f64> {
    let dir = dir.join("run");
    fs::create_dir(&dir).expect("the bench's own directory");
    // Not in the group, where it would not fit.
    warm_page_cache(&dir, bytes);
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args([ROLE, way, &bytes.to_string()])
        .arg(&dir)
        .args(group)
        .stderr(Stdio::inherit())
        .output()
        .expect("a process");
    let status = output.status;
    assert!(status.success(), "{way}: {status}, signal {:?}", status.signal());
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    let figures = answer.split_whitespace().map(|figure| figure.parse().expect("a number"));
    let figures: Vec<f64> = figures.collect();
    ways::measure(way, &Checked { bytes }, &dir);
    fs::remove_dir_all(&dir).expect("the bench's own directory");
    figures
}

/// The process in the group.
#[allow(unsafe_code)]
pub fn answer(args: &[String]) -> ExitCode {
    let [way, bytes, dir, group @ ..] = args else { panic!("three arguments or four") };
    // SAFETY: the call takes a number, and nobody handles the signal: it ends the process.
    unsafe { libc::alarm(RUN_SECONDS) };
    let signal = Some(rustix::process::Signal::KILL);
    rustix::process::set_parent_process_death_signal(signal).expect("a signal");
    if let [group] = group {
        fs::write(Path::new(group).join("cgroup.procs"), "0").expect("a place in the group");
    }
    let bytes = bytes.parse().expect("a number");
    let figures = ways::measure(way, &Timed { bytes }, Path::new(dir));
    let figures: Vec<String> = figures.iter().map(f64::to_string).collect();
    println!("{}", figures.join(" "));
    ExitCode::SUCCESS
}

struct Timed {
    bytes: u64,
}

impl Measure for Timed {
    fn run<W: Way>(&self, dir: &Path) -> Vec<f64> {
        let payloads = Payloads::new(SIZE);
        let way = W::create(dir, self.bytes);
        let samples = time_each(way, self.bytes / frame_bytes(SIZE), &payloads);
        let seconds = samples.iter().sum::<u64>() as f64 / 1e9;
        let mut figures: Vec<f64> = lateness(samples).iter().map(|nanos| nanos / 1e3).collect();
        figures.push((self.bytes / MIB) as f64 / seconds);
        figures
    }
}

struct Checked {
    bytes: u64,
}

impl Measure for Checked {
    fn run<W: Way>(&self, dir: &Path) -> Vec<f64> {
        W::check(dir, self.bytes / frame_bytes(SIZE), &Payloads::new(SIZE));
        Vec::new()
    }
}

/// A control group of the bench's own, below the root of the hierarchy; empty when it is dropped.
struct Group {
    path: PathBuf,
    version: &'static str,
}

impl Group {
    fn create(limit: u64) -> Result<Self, String> {
        let name = format!("maplog-bench-{}", std::process::id());
        let children = fs::read_to_string("/sys/fs/cgroup/cgroup.subtree_control");
        let (root, version, file) = match children {
            Ok(controllers) if controllers.split_whitespace().any(|one| one == "memory") => {
                ("/sys/fs/cgroup", "cgroup v2, memory.max", "memory.max")
            }
            _ => (
                "/sys/fs/cgroup/memory",
                "cgroup v1, memory.limit_in_bytes",
                "memory.limit_in_bytes",
            ),
        };
        let path = Path::new(root).join(name);
        let is_limit_there = Path::new(root).is_dir()
            && fs::create_dir(&path).is_ok()
            && fs::write(path.join(file), limit.to_string()).is_ok();
        let group = Group { path, version };
        match is_limit_there {
            true => Ok(group),
            false => Err("root and a writable cgroup with a memory limit".to_owned()),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.path));
    }
}
