//! Whether a question has been asked, settled between who asks and who waits for the answer.
//!
//! A question that was asked counts, however the login ends; one that still waited for its turn
//! when the client went away is not asked at all. Both sides may decide at the same moment, and
//! only one of them does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio_util::sync::CancellationToken;

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

/// The beginning of one question, shared by its clones.
#[derive(Debug, Clone, Default)]
pub struct Beginning(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: AtomicU8,
    given_up: CancellationToken,
}

impl Beginning {
    /// Says whether the question may be asked now, and settles that it is.
    #[must_use]
    pub fn begin(&self) -> bool {
        self.settle(BEGUN)
    }

    /// Says whether the question will not be asked; it is too late once it has begun.
    pub fn give_up(&self) -> bool {
        let given_up = self.settle(GIVEN_UP);
        if given_up {
            self.0.given_up.cancel();
        }
        given_up
    }

    /// Waits until the question is given up, perhaps for ever.
    pub async fn given_up(&self) {
        self.0.given_up.cancelled().await;
    }

    /// Settles for one side; says whether that is how it was settled.
    fn settle(&self, as_state: u8) -> bool {
        let settled =
            self.0
                .state
                .compare_exchange(WAITING, as_state, Ordering::AcqRel, Ordering::Acquire);
        settled.map_or_else(|before| before == as_state, |_| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_side_decides_and_may_say_so_again() {
        let begun = Beginning::default();
        assert!(begun.begin());
        assert!(begun.begin(), "a second provider is asked");
        assert!(!begun.give_up());
        let given_up = Beginning::default();
        assert!(given_up.give_up());
        assert!(given_up.give_up());
        assert!(!given_up.begin());
    }
}
