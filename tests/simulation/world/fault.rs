//! What may go wrong with a request and with the process that sends it, and how often.

use std::time::Duration;

use super::store::Request;
use crate::common::rng::Rng;

/// How often things go wrong in a history.
#[derive(Clone, Debug)]
pub struct Faults {
    /// The part of requests that fail.
    pub request: f64,
    /// The part of reads that return damaged bytes.
    pub damage: f64,
    /// The part of requests around which their process stands still for long.
    pub freeze: f64,
    /// The part of manifests and entries before which their process stands still for longer than the grace: others commit
    /// and collect before what it uploaded is named.
    pub publish_freeze: f64,
    /// The part of requests at which their process dies.
    pub crash: f64,
    /// The part of new processes that stand still for long early on.
    pub slow_start: f64,
    /// When every request fails.
    pub brownouts: Vec<(Duration, Duration)>,
    /// How long garbage is kept: what "long" is measured by.
    pub grace: Duration,
}

/// One thing that goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never reaches the store.
    Lost,
    /// It takes effect, but the answer is an error.
    LostResponse,
    /// The answer is an error, and it takes effect long after.
    Late,
    /// A client sent it twice: it takes effect, and the second finds its own object.
    SentTwice,
    /// A conflict that is told as "exists", though nothing is stored.
    FalseExists,
    /// The store asks to slow down; half of the time it has done the work.
    Throttle,
    /// The answer is cut short or has a bit flipped.
    Damage,
}

impl Fault {
    pub const ALL: [Self; 7] = [
        Self::Lost,
        Self::LostResponse,
        Self::Late,
        Self::SentTwice,
        Self::FalseExists,
        Self::Throttle,
        Self::Damage,
    ];

    /// Whether it can befall a request.
    pub fn suits(self, request: &Request) -> bool {
        match self {
            Self::SentTwice | Self::FalseExists => request.is_create(),
            Self::Damage => request.reads_bytes(),
            Self::Lost | Self::LostResponse | Self::Late | Self::Throttle => true,
        }
    }
}

/// When a process dies, as seen from one of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Before the request is sent.
    Before,
    /// While it is under way: it takes effect when the process is gone.
    UnderWay,
    /// When it has taken effect and the answer is about to arrive.
    After,
}

impl Crash {
    pub const ALL: [Self; 3] = [Self::Before, Self::UnderWay, Self::After];
}

/// All that is decided about a request when it is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    pub(super) fault: Option<Fault>,
    /// From here to the store, and back.
    pub(super) there: Duration,
    pub(super) back: Duration,
    /// How long an unanswered request takes to become an error; `None`: it stays silent.
    pub(super) gives_up: Option<Duration>,
    /// When a late request lands.
    pub(super) lands: Duration,
    pub(super) freeze_before: Option<Duration>,
    pub(super) freeze_after: Option<Duration>,
    pub(super) crash: Option<Crash>,
    /// For choices that depend on the answer.
    pub(super) dice: u64,
}

impl Faults {
    /// A world in which nothing fails.
    pub fn none() -> Self {
        Self {
            request: 0.0,
            damage: 0.0,
            freeze: 0.0,
            publish_freeze: 0.0,
            crash: 0.0,
            slow_start: 0.0,
            brownouts: Vec::new(),
            grace: Duration::from_hours(1),
        }
    }

    /// Rates for one history of a length.
    pub fn draw(rng: &mut Rng, grace: Duration, length: Duration) -> Self {
        let mut brownouts = Vec::new();
        if rng.chance(0.3) {
            let start = length.mul_f64(rng.unit());
            brownouts.push((start, start + Duration::from_secs(rng.between(20, 900))));
        }
        Self {
            request: *rng.pick(&[0.0, 0.02, 0.08, 0.2]),
            damage: *rng.pick(&[0.0, 0.0, 0.002]),
            freeze: *rng.pick(&[0.0, 0.004, 0.02]),
            publish_freeze: 0.0,
            crash: *rng.pick(&[0.0, 0.004, 0.02]),
            slow_start: *rng.pick(&[0.0, 0.1, 0.4]),
            brownouts,
            grace,
        }
    }

    /// Whether nothing at all fails, so that every error of the library is one too many.
    pub fn is_none(&self) -> bool {
        let rates =
            [self.request, self.damage, self.freeze, self.publish_freeze, self.crash, self.slow_start];
        rates.iter().all(|rate| *rate == 0.0) && self.brownouts.is_empty()
    }

    /// How long a process stands still: most often a little above one of the windows of freshness.
    pub(super) fn stillness(&self, rng: &mut Rng) -> Duration {
        let trust = self.grace / 8;
        match rng.below(4) {
            0 => trust.mul_f64(0.8 + rng.unit() * 0.6),
            1 | 2 => self.grace.mul_f64(0.9 + rng.unit() * 0.8),
            _ => self.grace.mul_f64(rng.unit() * 3.0),
        }
    }

    pub(super) fn fate(&self, rng: &mut Rng, now: Duration, request: &Request) -> Fate {
        let fault = rng.chance(self.request).then(|| draw_fault(rng, request));
        let damaged = request.reads_bytes() && rng.chance(self.damage);
        let brownout = self.brownouts.iter().any(|(from, to)| (*from..*to).contains(&now));
        let fault = if brownout { Some(Fault::Lost) } else { fault.or(damaged.then_some(Fault::Damage)) };
        let freeze = rng.chance(self.freeze).then(|| self.stillness(rng));
        let before = rng.chance(0.5);
        let overtaken = request.publishes() && rng.chance(self.publish_freeze);
        let overtaken = overtaken.then(|| self.grace.mul_f64(1.2 + rng.unit() * 3.0));
        let late = if rng.chance(0.5) { 400_000 } else { millis(self.grace) * 3 };
        let slow = rng.chance(0.3);
        Fate {
            fault,
            there: latency(rng),
            back: latency(rng),
            gives_up: if slow { None } else { Some(Duration::from_millis(rng.between(50, 40_000))) },
            lands: Duration::from_millis(rng.between(1_000, late)),
            freeze_before: overtaken.or(freeze.filter(|_| before)),
            freeze_after: freeze.filter(|_| !before),
            crash: rng.chance(self.crash).then(|| *rng.pick(&Crash::ALL)),
            dice: rng.bits(),
        }
    }
}

impl Fate {
    /// That of a request that meets nothing.
    pub(super) fn plain(rng: &mut Rng) -> Self {
        let none = Faults::none();
        let nothing = Request::Folders(elacsym::storage::ObjectPrefix::root());
        none.fate(rng, Duration::ZERO, &nothing)
    }
}

fn draw_fault(rng: &mut Rng, request: &Request) -> Fault {
    let any = [Fault::Lost, Fault::LostResponse, Fault::Late, Fault::Throttle];
    let create = [
        Fault::Lost,
        Fault::LostResponse,
        Fault::LostResponse,
        Fault::Late,
        Fault::Late,
        Fault::SentTwice,
        Fault::FalseExists,
        Fault::Throttle,
    ];
    if request.is_create() { *rng.pick(&create) } else { *rng.pick(&any) }
}

/// Half of the way: some milliseconds, with a long tail.
fn latency(rng: &mut Rng) -> Duration {
    let sum: f64 = (0..4).map(|_| rng.unit()).sum::<f64>() - 2.0;
    Duration::from_secs_f64((0.008 * (sum * 1.6).exp()).clamp(0.001, 0.1))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
