//! One input: what came of it, what it allocated, and whether it ended.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

/// An input takes microseconds. One that takes this long hangs.
const HANGS_AFTER: Duration = Duration::from_mins(2);

thread_local! {
    /// The last panic within an attempt: where, and the message. `None` outside of attempts.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What came of an input.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Whether the input was accepted, or why not.
    pub(super) answer: Result<(), String>,
    /// The panic that came out of the decoder, if one did.
    pub(super) panic: Option<String>,
    /// The most bytes that the decoder held at a time.
    pub(super) peak_bytes: u64,
}

/// Decodes an input, and drops what came of it.
pub(super) fn attempt<T, E: Display>(input: &[u8], decode: impl Fn(&[u8]) -> Result<T, E>) -> Outcome {
    keep_panics_quiet();
    LAST_PANIC.set(Some(String::new()));
    let mut caught = None;
    let allocated = allocation_counter::measure(|| {
        // The value is dropped within, for dropping may panic as well.
        let decode = || decode(input).map(drop).map_err(|error| error.to_string());
        caught = Some(catch_unwind(AssertUnwindSafe(decode)));
    });
    let message = LAST_PANIC.take();
    let (answer, panic) = match caught {
        Some(Ok(answer)) => (answer, None),
        _ => (Err("panic".to_owned()), message),
    };
    Outcome { answer, panic, peak_bytes: allocated.bytes_max }
}

/// Panics within attempts are noted instead of printed. Parsers of other crates panic on thousands of inputs, and a
/// backtrace of each would count as memory of the decoder.
fn keep_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let is_noted = LAST_PANIC
                .with_borrow_mut(|last| last.as_mut().map(|last| *last = info.to_string()).is_some());
            if !is_noted {
                print(info);
            }
        }));
    });
}

/// Ends the process when an input takes too long, after saving it.
#[derive(Debug)]
pub(super) struct Watchdog {
    name: &'static str,
    input: Arc<Mutex<Vec<u8>>>,
    alive: Option<SyncSender<()>>,
}

impl Watchdog {
    pub(super) fn new(name: &'static str) -> Self {
        let (alive, heard) = sync_channel(64);
        let input = Arc::new(Mutex::default());
        let watched = Arc::clone(&input);
        #[expect(clippy::disallowed_methods, reason = "a hanging input holds up its own thread")]
        std::thread::spawn(move || wait_for_end(name, &watched, &heard));
        Self { name, input, alive: Some(alive) }
    }

    /// Notes the input that is decoded next.
    pub(super) fn begin(&self, input: &[u8]) {
        let mut watched = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        watched.clear();
        watched.extend(input);
        drop(watched);
        let alive = self.alive.as_ref().and_then(|alive| alive.send(()).ok());
        assert!(alive.is_some(), "the watchdog of `{}` is gone", self.name);
    }
}

fn wait_for_end(name: &str, input: &Mutex<Vec<u8>>, heard: &Receiver<()>) {
    loop {
        match heard.recv_timeout(HANGS_AFTER) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let path = save_input(name, &input.lock().unwrap_or_else(PoisonError::into_inner));
                // Past the capture of the test harness: the process ends before that would be shown.
                let _ = writeln!(std::io::stderr(), "`{name}` hangs on {}", path.display());
                std::process::abort();
            }
        }
    }
}

/// Writes an input to a file outside of the repository.
pub(super) fn save_input(name: &str, input: &[u8]) -> PathBuf {
    let folder = std::env::temp_dir().join("elacsym-fuzz").join(name);
    let path = folder.join(format!("{:016x}", crate::codec::checksum(input)));
    std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, input)).expect("a temporary file");
    path
}
