//! Programs of the project, run with the settings given and no others of whoever runs the tests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Longest wait for a program to do what it should.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program and its settings.
#[derive(Debug, Clone)]
pub struct Program {
    path: String,
    arguments: Vec<String>,
    settings: BTreeMap<String, String>,
}

/// What an ended program leaves.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// All that it wrote, to both outputs.
    pub output: String,
    /// How long it took: from its start, or from the signal that ended it.
    pub took: Duration,
}

/// A program at work; killed when dropped.
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
        }
    }

    /// The same with this setting.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The same without this setting. Panics when it has none.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.settings.remove(name).unwrap_or_else(|| panic!("{name} was not set"));
        self
    }

    /// Starts it. Panics when it cannot be started.
    pub fn start(&self) -> Running {
        let child = Command::new(&self.path)
            .args(&self.arguments)
            .env_clear()
            .envs(&self.settings)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
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

    /// Runs it to its own end. Panics when it does not end in time.
    pub fn run(&self) -> Ended {
        let mut running = self.start();
        let started_at = running.started_at;
        running.ended(started_at)
    }
}

impl Running {
    /// All that it has written so far.
    pub fn output(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has written this text. Panics when it ends before, or does not write it in time.
    pub fn until_written(&mut self, text: &str) {
        loop {
            let exit = self.exit_status();
            let output = self.output();
            if output.contains(text) {
                return;
            }
            assert!(exit.is_none(), "it has ended ({exit:?}) without {text:?}: {output}");
            assert!(self.started_at.elapsed() < PATIENCE, "it did not write {text:?}: {output}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its exit code, once it has ended; `Some(None)` after a signal.
    pub fn exit_status(&mut self) -> Option<Option<i32>> {
        let status = self.child.try_wait().unwrap_or_else(|error| panic!("no status: {error}"));
        status.map(|status| status.code())
    }

    /// Sends it SIGTERM and waits for its end. Panics when it does not end in time.
    pub fn terminate(self) -> Ended {
        self.signal("TERM")
    }

    /// Sends it SIGINT, as Ctrl-C does, and waits for its end. Panics when it does not end in time.
    pub fn interrupt(self) -> Ended {
        self.signal("INT")
    }

    fn signal(mut self, name: &str) -> Ended {
        let asked_at = Instant::now();
        let id = self.child.id().to_string();
        // The shell's own `kill`: not every machine has a program of that name.
        let killed = Command::new("/bin/sh").args(["-c", "kill -\"$1\" \"$0\"", &id, name]).status();
        assert!(killed.is_ok_and(|status| status.success()), "SIG{name} could not be sent");
        self.ended(asked_at)
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

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, or the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the program; it must end within two seconds with a failure that names the setting and repeats no value that holds
/// `hunter2`. Panics otherwise.
pub fn assert_refuses(program: &Program, setting: &str) {
    let ended = program.run();
    let output = &ended.output;
    assert!(ended.code.is_some_and(|code| code != 0), "{setting}: exit code {:?}: {output}", ended.code);
    assert!(ended.took < Duration::from_secs(2), "{setting}: took {:?}: {output}", ended.took);
    assert!(output.contains(setting), "{setting} is not named: {output}");
    assert!(!output.to_lowercase().contains("hunter2"), "{setting}: the value is told: {output}");
}
