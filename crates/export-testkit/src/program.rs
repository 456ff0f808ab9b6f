//! Programs of the project, run with the given settings only: the developer's environment is not
//! inherited.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::memory_group::MemoryGroup;

/// Longest wait for an expected step of a program.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program and its settings.
#[derive(Debug, Clone)]
pub struct Program {
    path: String,
    arguments: Vec<String>,
    settings: BTreeMap<String, String>,
    /// A shell script that starts the program as `"$@"`; without it the program is started
    /// directly.
    wrapper: Option<String>,
    /// What takes the place of standard output and of standard error.
    broken: [Option<BrokenStream>; 2],
}

/// A standard stream that the program cannot write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenStream {
    /// A pipe whose reader is gone.
    ClosedPipe,
    /// Closed before the program starts, as by `>&-` in a shell.
    Closed,
    /// A file on a full disk.
    FullDisk,
}

impl BrokenStream {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ClosedPipe, Self::Closed, Self::FullDisk];

    fn open(self) -> Stdio {
        let opened = match self {
            Self::ClosedPipe => std::io::pipe().map(|(_, writer)| Stdio::from(writer)),
            // A shell closes it.
            Self::Closed => Ok(Stdio::null()),
            Self::FullDisk => File::options().write(true).open("/dev/full").map(Stdio::from),
        };
        opened.unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}

/// The exit of a program and its output.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// The output to stdout and stderr.
    pub output: String,
    /// The duration: from the program's start, or from the signal that ended it.
    pub took: Duration,
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    output: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    started_at: Instant,
}

impl Program {
    /// The program at this path, without any settings.
    pub fn new(path: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let owned = |text: &&str| (*text).to_owned();
        Self {
            path: path.to_owned(),
            arguments: arguments.iter().map(owned).collect(),
            settings: settings.iter().map(|(name, value)| (owned(name), owned(value))).collect(),
            wrapper: None,
            broken: [None; 2],
        }
    }

    /// Gives the program this stream as its standard output.
    #[must_use]
    pub fn with_stdout(mut self, stream: BrokenStream) -> Self {
        self.broken[0] = Some(stream);
        self.closing(stream, "exec \"$@\" >&-")
    }

    /// Gives the program this stream as its standard error.
    #[must_use]
    pub fn with_stderr(mut self, stream: BrokenStream) -> Self {
        self.broken[1] = Some(stream);
        self.closing(stream, "exec \"$@\" 2>&-")
    }

    /// Lets the shell close a stream.
    fn closing(mut self, stream: BrokenStream, script: &str) -> Self {
        if stream == BrokenStream::Closed {
            assert!(self.wrapper.is_none(), "only one wrapper");
            self.wrapper = Some(script.to_owned());
        }
        self
    }

    /// Runs the program in this memory group, from its first instruction on.
    #[must_use]
    pub fn within(mut self, group: &MemoryGroup) -> Self {
        self.wrapper = Some(group.entering_script());
        self
    }

    /// Adds this setting.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Removes this setting. Panics when it is not set.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.settings.remove(name).unwrap_or_else(|| panic!("{name} was not set"));
        self
    }

    /// Starts the program. Panics when it cannot be started.
    pub fn start(&self) -> Running {
        let mut command = match &self.wrapper {
            None => Command::new(&self.path),
            Some(script) => {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", script, "sh", &self.path]);
                command
            }
        };
        let child = command
            .args(&self.arguments)
            .env_clear()
            .envs(&self.settings)
            .stdin(Stdio::null())
            .stdout(self.broken[0].map_or_else(Stdio::piped, BrokenStream::open))
            .stderr(self.broken[1].map_or_else(Stdio::piped, BrokenStream::open))
            .spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{} cannot be started: {error}", self.path));
        let output = Arc::new(Mutex::new(String::new()));
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
            child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        ];
        let readers = outputs.into_iter().flatten().map(|pipe| {
            let output = Arc::clone(&output);
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
                    output.push_str(&line);
                    output.push('\n');
                }
            })
        });
        Running { readers: readers.collect(), child, output, started_at: Instant::now() }
    }

    /// Runs the program until it exits. Panics when it does not exit in time.
    pub fn run(&self) -> Ended {
        let mut running = self.start();
        let started_at = running.started_at;
        running.ended(started_at)
    }
}

impl Running {
    /// The output so far.
    pub fn output(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the program has written this text. Panics when it exits before, or does not
    /// write it in time.
    pub fn until_written(&mut self, text: &str) {
        let asked_at = Instant::now();
        loop {
            let exit = self.exit_status();
            let output = self.output();
            if output.contains(text) {
                return;
            }
            assert!(exit.is_none(), "it has ended ({exit:?}) without {text:?}: {output}");
            assert!(asked_at.elapsed() < PATIENCE, "it did not write {text:?}: {output}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The exit code, if the program has exited; `Some(None)` after a signal.
    pub fn exit_status(&mut self) -> Option<Option<i32>> {
        let status = self.child.try_wait().unwrap_or_else(|error| panic!("no status: {error}"));
        status.map(|status| status.code())
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM and waits for the exit. Panics when the program does not exit in time.
    pub fn terminate(mut self) -> Ended {
        let asked_at = self.ask_to_end();
        self.ended(asked_at)
    }

    /// Sends SIGINT, as Ctrl-C does, and waits for the exit. Panics when the program does not exit
    /// in time.
    pub fn interrupt(mut self) -> Ended {
        let asked_at = Instant::now();
        self.signal("INT");
        self.ended(asked_at)
    }

    /// Sends SIGTERM without waiting; returns the time of the signal, for [`Self::until_ended`].
    pub fn ask_to_end(&self) -> Instant {
        let asked_at = Instant::now();
        self.signal("TERM");
        asked_at
    }

    /// Waits for the exit; the duration counts from `since`. Panics when the program does not exit
    /// in time.
    pub fn until_ended(&mut self, since: Instant) -> Ended {
        self.ended(since)
    }

    /// Kills the program with SIGKILL, so that it cannot clean up, and waits until it is gone.
    pub fn kill(&mut self) -> Ended {
        let killed_at = Instant::now();
        self.child.kill().unwrap_or_else(|error| panic!("SIGKILL could not be sent: {error}"));
        self.ended(killed_at)
    }

    /// Stops the program (SIGSTOP), with all its connections open; returns when all its threads
    /// have stopped.
    pub fn freeze(&self) {
        self.signal("STOP");
        let stopped_by = Instant::now() + PATIENCE;
        while !self.is_frozen() {
            assert!(Instant::now() < stopped_by, "process {} does not stop", self.id());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Resumes the program (SIGCONT).
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Whether every thread is stopped; the kernel stops them one after the other.
    fn is_frozen(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id()));
        let threads = threads.unwrap_or_else(|error| panic!("process {} is not there: {error}", self.id()));
        threads.filter_map(Result::ok).all(|thread| {
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            status.lines().any(|line| line.starts_with("State:") && line.contains("T (stopped)"))
        })
    }

    fn signal(&self, name: &str) {
        signal(name, &self.id().to_string());
    }

    fn ended(&mut self, since: Instant) -> Ended {
        let code = loop {
            if let Some(code) = self.exit_status() {
                break code;
            }
            assert!(since.elapsed() < PATIENCE, "it did not end: {}", self.output());
            thread::sleep(Duration::from_millis(5));
        };
        let took = since.elapsed();
        for reader in self.readers.drain(..) {
            reader.join().unwrap_or_else(|_| panic!("its output cannot be read"));
        }
        Ended { code, output: self.output(), took }
    }
}

/// Sends a signal to a process, or with `-` before its number to a process group.
pub(crate) fn signal(name: &str, target: &str) {
    // The shell's built-in `kill`: some machines have no program of that name.
    let killed = Command::new("/bin/sh").args(["-c", "kill -s \"$0\" -- \"$1\"", name, target]).status();
    assert!(killed.is_ok_and(|status| status.success()), "SIG{name} could not be sent to {target}");
}

impl Drop for Running {
    fn drop(&mut self) {
        // The program has exited already, or the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the program, which must exit within two seconds with an error that names the setting and
/// repeats no value that contains `hunter2`. Panics otherwise.
pub fn assert_refuses(program: &Program, setting: &str) {
    let output = refused(program);
    assert!(output.contains(setting), "{setting} is not named: {output}");
}

/// Runs the program, which must exit like that of [`assert_refuses`] with one line for each of these
/// settings, and no others. Panics otherwise.
pub fn assert_refuses_all(program: &Program, settings: &[&str]) {
    let output = refused(program);
    for setting in settings {
        let is_named = |line: &&str| line.contains(&format!(": setting {setting} is "));
        assert_eq!(output.lines().filter(is_named).count(), 1, "{setting}: {output}");
    }
    // Logs may be on already, and the AWS SDK logs where it looks for a region.
    let errors = output.lines().filter(|line| line.contains(": setting "));
    assert_eq!(errors.count(), settings.len(), "{output}");
}

/// The output of a program that exits with an error.
fn refused(program: &Program) -> String {
    let Ended { code, output, took } = program.run();
    assert!(code.is_some_and(|code| code != 0), "exit code {code:?}: {output}");
    assert!(took < Duration::from_secs(2), "took {took:?}: {output}");
    assert!(!output.to_lowercase().contains("hunter2"), "a value is printed: {output}");
    output
}
