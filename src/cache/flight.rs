//! Requests under way, so that a range is asked for once however many want it.
//!
//! A flight is polled by whoever waits for it, with no task of its own: when the one that started it is
//! dropped the others carry it on, and when the last is dropped it ends.
//!
//! **Invariant:** a flight leaves the board only after what it brought is in the cache, so whoever finds
//! neither is right to ask the store.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

use super::block::{BlockKey, Piece};
use crate::error::Result;

/// What a request brings: each range it was made for, in ascending order.
pub(super) type Trip = BoxFuture<'static, Result<Arc<[Piece]>>>;

/// A request that several may wait for.
pub(super) type Flight = Shared<Trip>;

/// How a block that was not in memory is had.
pub(super) enum Seat {
    /// It came in meanwhile.
    Here(Bytes),
    /// Another asked for it already.
    Joined(Flight),
    /// By a request of its own.
    Own(Flight),
}

/// The requests under way, by what they will bring.
#[derive(Clone, Default)]
pub(super) struct Flights(Arc<Mutex<Board>>);

#[derive(Default)]
struct Board {
    underway: HashMap<BlockKey, (u64, WeakShared<Trip>)>,
    flown: u64,
}

impl Flights {
    /// Finds a seat for every key, in order. `arrived` looks into the cache; `depart` is given the keys that
    /// nobody has asked for and makes requests that cover them, each with the keys it brings.
    pub(super) fn board(
        &self,
        keys: &[BlockKey],
        arrived: impl Fn(&BlockKey) -> Option<Bytes>,
        depart: impl FnOnce(Vec<BlockKey>) -> Vec<(Vec<BlockKey>, Trip)>,
    ) -> Vec<Seat> {
        // Declared before the guard and so dropped after it: a flight whose last holder is dropped takes
        // the lock.
        let mut seats: Vec<Option<Seat>>;
        let mut own: HashMap<BlockKey, Flight> = HashMap::new();
        {
            let mut board = self.lock();
            seats = keys.iter().map(|key| board.seat(key, &arrived)).collect();
            let open = keys.iter().zip(&seats).filter(|(_, seat)| seat.is_none());
            for (brings, trip) in depart(open.map(|(key, _)| key.clone()).collect()) {
                let flight = self.start(&mut board, &brings, trip);
                own.extend(brings.into_iter().map(|key| (key, flight.clone())));
            }
        }
        for (key, seat) in keys.iter().zip(&mut seats) {
            if seat.is_none() {
                *seat = own.get(key).cloned().map(Seat::Own);
            }
        }
        seats.into_iter().flatten().collect()
    }

    fn start(&self, board: &mut Board, brings: &[BlockKey], trip: Trip) -> Flight {
        board.flown += 1;
        let landing = Landing { flights: self.clone(), keys: brings.to_vec(), flight: board.flown };
        let flight = async move {
            let _landing = landing;
            trip.await
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            let entries = brings.iter().map(|key| (key.clone(), (board.flown, weak.clone())));
            board.underway.extend(entries);
        }
        flight
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        // Every change is one call on the map: a panic elsewhere leaves it sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn seat(&self, key: &BlockKey, arrived: impl Fn(&BlockKey) -> Option<Bytes>) -> Option<Seat> {
        let underway = self.underway.get(key).and_then(|(_, flight)| flight.upgrade());
        underway.map(Seat::Joined).or_else(|| arrived(key).map(Seat::Here))
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flights({} blocks)", self.lock().underway.len())
    }
}

/// Takes a flight off the board when it has ended, or nobody waits for it any more.
struct Landing {
    flights: Flights,
    keys: Vec<BlockKey>,
    flight: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut board = self.flights.lock();
        for key in &self.keys {
            // Another flight may have been started for the key after all holders of this one were gone.
            if board.underway.get(key).is_some_and(|(flight, _)| *flight == self.flight) {
                board.underway.remove(key);
            }
        }
    }
}
