//! Who gets memory next (pure).
//!
//! Whoever asks is served in order of arrival, with three exceptions that keep everybody going:
//! what does not fit is passed by what does, but only a few times and not for long; a user who has
//! their share does not keep others waiting; and what only begins something leaves enough free for
//! one that goes on to its end.

#![warn(clippy::arithmetic_side_effects)]

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// One for whom bytes are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Holder(pub(super) u64);

/// Names one that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Waiter(u64);

/// How much one holder may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shares {
    /// Everything; while others wait, this much.
    WhileOthersWait(u64),
    /// Half of what others leave, so that somebody who comes later always finds some: for what
    /// its holder may keep as long as they like.
    HalfOfTheRest,
}

/// What the bytes are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Something begins that will want more: the reserve stays untouched.
    Begin,
    /// With these bytes something can come to its end, and give everything back.
    Finish,
}

/// A pool of bytes, who has them and who waits for them.
#[derive(Debug)]
pub(super) struct Line {
    all: u64,
    free: u64,
    /// Stays free for those who finish.
    reserve: u64,
    shares: Shares,
    taken: HashMap<Holder, u64>,
    waiting: VecDeque<Want>,
    next: u64,
    /// Until then nobody begins anything beyond their share: somebody had waited for long.
    strict_until: Option<Instant>,
    /// It began since somebody asked.
    strict_anew: bool,
    /// Who finishes something beyond their share has to come down to this before the next one;
    /// what is given within it raises it.
    exceptions: HashMap<Holder, u64>,
}

#[derive(Debug)]
struct Want {
    waiter: Waiter,
    holder: Holder,
    bytes: u64,
    purpose: Purpose,
    since: Instant,
    passed: u32,
}

/// Why somebody has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Yes,
    /// There is not enough for anybody.
    NoMemory,
    /// The holder has enough.
    NoShare,
}

impl Line {
    /// Begins with `all` bytes, of which `reserve` are kept for those who finish.
    #[must_use]
    pub(super) fn new(all: u64, reserve: u64, shares: Shares) -> Self {
        Self {
            all,
            free: all,
            reserve: reserve.min(all),
            shares,
            taken: HashMap::new(),
            waiting: VecDeque::new(),
            next: 0,
            strict_until: None,
            strict_anew: false,
            exceptions: HashMap::new(),
        }
    }

    #[must_use]
    pub(super) const fn all(&self) -> u64 {
        self.all
    }

    #[must_use]
    pub(super) const fn all_to_begin(&self) -> u64 {
        self.all.saturating_sub(self.reserve)
    }

    #[must_use]
    pub(super) const fn free(&self) -> u64 {
        self.free
    }

    #[must_use]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns how many bytes a holder has.
    #[must_use]
    pub(super) fn taken(&self, holder: Holder) -> u64 {
        self.taken.get(&holder).copied().unwrap_or(0)
    }

    /// Says whether a holder has more than their share while others wait for less than theirs.
    #[must_use]
    pub(super) fn has_too_much(&self, holder: Holder) -> bool {
        let Shares::WhileOthersWait(share) = self.shares else {
            return false;
        };
        self.taken(holder) > share && self.rivals().any.besides(holder)
    }

    /// Says whether everybody is held to their share, whether or not others wait.
    #[must_use]
    pub(super) fn is_strict(&self, now: Instant) -> bool {
        self.strict_until.is_some_and(|until| now < until)
    }

    /// Says whether that began since this was asked last.
    #[must_use]
    pub(super) const fn became_strict(&mut self) -> bool {
        std::mem::replace(&mut self.strict_anew, false)
    }

    /// Asks for bytes, and returns who is served now: the one that asks, or others for whose share
    /// the question makes a difference.
    pub(super) fn ask(
        &mut self,
        holder: Holder,
        bytes: u64,
        purpose: Purpose,
        now: Instant,
    ) -> (Waiter, Vec<Waiter>) {
        let waiter = Waiter(self.next);
        self.next = self.next.wrapping_add(1);
        self.waiting.push_back(Want {
            waiter,
            holder,
            // More than there is could never be had.
            bytes: bytes.min(self.all),
            purpose,
            since: now,
            passed: 0,
        });
        (waiter, self.serve(now))
    }

    /// Takes bytes if they are there for one that does not wait.
    pub(super) fn try_ask(
        &mut self,
        holder: Holder,
        bytes: u64,
        purpose: Purpose,
        now: Instant,
    ) -> bool {
        let want = Want {
            waiter: Waiter(self.next),
            holder,
            bytes: bytes.min(self.all),
            purpose,
            since: now,
            passed: 0,
        };
        if self.shares == Shares::HalfOfTheRest && !self.is_within_share(&want) {
            return false;
        }
        if self.waiting.is_empty() {
            let fits = self.fit(&want, Rivals::default(), now) == Fit::Yes;
            if fits {
                self.grant(&want, now);
            }
            return fits;
        }
        // Behind everybody who waits.
        self.waiting.push_back(want);
        let last = self.waiting.len().saturating_sub(1);
        if self.next_served(now) != Some(last) {
            self.waiting.pop_back();
            return false;
        }
        if let Some(want) = self.waiting.pop_back() {
            self.grant(&want, now);
            self.pass(last, now);
        }
        true
    }

    fn grant(&mut self, want: &Want, now: Instant) {
        // Those who wait are looked at only for what is beyond a share.
        if !self.is_within_share(want) && self.is_held_to_share(want, self.rivals(), now) {
            self.exceptions.insert(want.holder, self.taken(want.holder));
        } else if let Some(before) = self.exceptions.get_mut(&want.holder) {
            *before = before.saturating_add(want.bytes);
        }
        self.free = self.free.saturating_sub(want.bytes);
        let taken = self.taken.entry(want.holder).or_default();
        *taken = taken.saturating_add(want.bytes);
    }

    /// Takes bytes back, and returns who has what they waited for.
    pub(super) fn give_back(&mut self, holder: Holder, bytes: u64, now: Instant) -> Vec<Waiter> {
        let bytes = bytes.min(self.taken(holder));
        self.free = self.free.saturating_add(bytes);
        if let Some(taken) = self.taken.get_mut(&holder) {
            *taken = taken.saturating_sub(bytes);
            if *taken == 0 {
                self.taken.remove(&holder);
                self.exceptions.remove(&holder);
            }
        }
        self.serve(now)
    }

    /// Forgets one that waits no more, and returns who is served now.
    pub(super) fn withdraw(&mut self, waiter: Waiter, now: Instant) -> Vec<Waiter> {
        self.waiting.retain(|want| want.waiter != waiter);
        self.serve(now)
    }

    /// Serves all that can be served.
    fn serve(&mut self, now: Instant) -> Vec<Waiter> {
        if self.keeps_somebody_waiting(now) {
            self.strict_anew |= !self.is_strict(now);
            self.strict_until = now.checked_add(STRICT_FOR);
        }
        let mut served = Vec::new();
        while let Some(at) = self.next_served(now) {
            let Some(want) = self.waiting.remove(at) else {
                break;
            };
            self.grant(&want, now);
            self.pass(at, now);
            served.push(want.waiter);
        }
        served
    }

    /// Returns the place in the line of the next one that can be served: those who have less than
    /// their share come first.
    fn next_served(&self, now: Instant) -> Option<usize> {
        let rivals = self.rivals();
        let mut may_begin = true;
        for within in [true, false] {
            for (at, want) in self.waiting.iter().enumerate() {
                if self.is_within_share(want) != within {
                    continue;
                }
                match (self.fit(want, rivals, now), want.purpose) {
                    (Fit::Yes, Purpose::Finish) => return Some(at),
                    (Fit::Yes, Purpose::Begin) if may_begin => return Some(at),
                    (Fit::NoMemory, Purpose::Finish) if is_overdue(want, now) => return None,
                    // Those who finish give more back than they take.
                    (Fit::NoMemory, Purpose::Begin) if is_overdue(want, now) => may_begin = false,
                    // Small wishes would pass it for ever, one after the other.
                    (Fit::NoShare, _) if self.is_modest(want) && is_overdue(want, now) => {
                        return None;
                    }
                    (Fit::Yes | Fit::NoMemory | Fit::NoShare, _) => {}
                }
            }
        }
        None
    }

    /// Counts that those before `at` were passed, as far as memory is what they lack.
    fn pass(&mut self, at: usize, now: Instant) {
        let rivals = self.rivals();
        let lacking: Vec<bool> = self
            .waiting
            .iter()
            .take(at)
            .map(|want| self.fit(want, rivals, now) == Fit::NoMemory)
            .collect();
        for (want, lacks) in self.waiting.iter_mut().zip(lacking) {
            if lacks {
                want.passed = want.passed.saturating_add(1);
            }
        }
    }

    fn fit(&self, want: &Want, rivals: Rivals, now: Instant) -> Fit {
        let has_enough = match self.shares {
            Shares::WhileOthersWait(_) => {
                self.is_held_to_share(want, rivals, now) && !self.is_excepted(want, rivals)
            }
            Shares::HalfOfTheRest => !self.is_within_share(want),
        };
        let kept = match want.purpose {
            Purpose::Begin => self.reserve,
            Purpose::Finish => 0,
        };
        if has_enough {
            Fit::NoShare
        } else if want.bytes > self.free.saturating_sub(kept) {
            Fit::NoMemory
        } else {
            Fit::Yes
        }
    }

    /// Says whether one who would have more than their share may not, since others need it.
    fn is_held_to_share(&self, want: &Want, rivals: Rivals, now: Instant) -> bool {
        matches!(self.shares, Shares::WhileOthersWait(_))
            && !self.is_within_share(want)
            && (self.is_strict(now) || rivals.any.besides(want.holder))
    }

    /// Says whether it may all the same, since something that was begun comes to its end with it:
    /// one after the other, as who begins cannot have the reserve.
    fn is_excepted(&self, want: &Want, rivals: Rivals) -> bool {
        let came_down = self
            .exceptions
            .get(&want.holder)
            .is_none_or(|before| self.taken(want.holder) <= *before);
        want.purpose == Purpose::Finish && came_down && !rivals.finishing.besides(want.holder)
    }

    /// Says whether somebody has waited for long for what is within their share while another has
    /// more than theirs. It will be so again as soon as nobody waits for a moment.
    fn keeps_somebody_waiting(&self, now: Instant) -> bool {
        let Shares::WhileOthersWait(share) = self.shares else {
            return false;
        };
        let waits_long = |want: &Want| {
            now.saturating_duration_since(want.since) >= PASSED_FOR_MAX
                && self.is_within_share(want)
        };
        self.waiting.iter().any(waits_long) && self.taken.values().any(|taken| *taken > share)
    }

    /// Returns some of those who wait for what is within their share.
    fn rivals(&self) -> Rivals {
        let mut rivals = Rivals::default();
        for want in self
            .waiting
            .iter()
            .filter(|want| self.is_within_share(want))
        {
            rivals.any.note(want.holder);
            if want.purpose == Purpose::Finish {
                rivals.finishing.note(want.holder);
            }
        }
        rivals
    }

    /// Says whether one who waits has little, and wants little, of what everybody may keep.
    fn is_modest(&self, want: &Want) -> bool {
        let sum = self.taken(want.holder).saturating_add(want.bytes);
        self.shares == Shares::HalfOfTheRest && sum <= self.all / MODEST_PART
    }

    fn is_within_share(&self, want: &Want) -> bool {
        let taken = self.taken(want.holder);
        let sum = taken.saturating_add(want.bytes);
        match self.shares {
            // The first is everybody's right.
            Shares::WhileOthersWait(share) => taken == 0 || sum <= share,
            Shares::HalfOfTheRest => sum <= self.free.saturating_add(taken) / 2,
        }
    }
}

/// Those who wait and have less than their share.
#[derive(Debug, Clone, Copy, Default)]
struct Rivals {
    any: Two,
    finishing: Two,
}

/// Two different holders of many: enough to know whether there is another one.
#[derive(Debug, Clone, Copy, Default)]
struct Two(Option<Holder>, Option<Holder>);

impl Two {
    fn note(&mut self, holder: Holder) {
        if self.0.is_none() {
            self.0 = Some(holder);
        } else if self.1.is_none() && self.0 != Some(holder) {
            self.1 = Some(holder);
        }
    }

    fn besides(self, holder: Holder) -> bool {
        [self.0, self.1]
            .into_iter()
            .flatten()
            .any(|one| one != holder)
    }
}

fn is_overdue(want: &Want, now: Instant) -> bool {
    want.passed >= PASSED_MAX || now.saturating_duration_since(want.since) >= PASSED_FOR_MAX
}

/// How often a small wish may pass a large one, and for how long; then memory is kept for it.
const PASSED_MAX: u32 = 8;
/// Who has and wants no more than this part of all is waited for.
const MODEST_PART: u64 = 8;
const PASSED_FOR_MAX: Duration = Duration::from_secs(5);
/// For how long everybody is held to their share after somebody had to wait for that long.
const STRICT_FOR: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

    use proptest::prelude::*;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    const ANN: Holder = Holder(1);
    const BOB: Holder = Holder(2);
    const CAT: Holder = Holder(3);

    fn line(all: u64, reserve: u64) -> Line {
        Line::new(all, reserve, Shares::WhileOthersWait(all / 3))
    }

    fn waits((waiter, served): (Waiter, Vec<Waiter>)) -> Waiter {
        assert_eq!(served, []);
        waiter
    }

    /// Asks without waiting.
    fn gets(line: &mut Line, holder: Holder, bytes: u64, purpose: Purpose, now: Instant) -> bool {
        let (waiter, served) = line.ask(holder, bytes, purpose, now);
        assert_eq!(line.withdraw(waiter, now), []);
        served.contains(&waiter)
    }

    #[test]
    fn whoever_waits_first_is_served_first() {
        let (mut line, now) = (line(24, 0), SystemClock.now());
        assert!(gets(&mut line, ANN, 24, Purpose::Finish, now));
        let bob = waits(line.ask(BOB, 8, Purpose::Finish, now));
        let cat = waits(line.ask(CAT, 8, Purpose::Finish, now));
        assert_eq!(line.give_back(ANN, 8, now), [bob]);
        assert_eq!(line.give_back(ANN, 8, now), [cat]);
        assert_eq!(line.waiting(), 0);
    }

    #[test]
    fn while_others_wait_a_user_gets_no_more_than_a_third() {
        let (mut line, now) = (line(24, 0), SystemClock.now());
        assert!(gets(&mut line, ANN, 24, Purpose::Finish, now));
        let more = waits(line.ask(ANN, 8, Purpose::Finish, now));
        let bob = waits(line.ask(BOB, 8, Purpose::Finish, now));
        let again = waits(line.ask(BOB, 8, Purpose::Finish, now));
        let cat = waits(line.ask(CAT, 8, Purpose::Finish, now));
        assert_eq!(line.give_back(ANN, 8, now), [bob]);
        // Bob has his third, and Ann more than hers.
        assert_eq!(line.give_back(ANN, 8, now), [cat]);
        // Where only such wait they are served in order of arrival.
        assert_eq!(line.give_back(CAT, 8, now), [more]);
        assert_eq!(line.give_back(BOB, 8, now), [again]);
    }

    #[test]
    fn a_large_wish_is_passed_a_few_times_and_then_waited_for() {
        let (mut line, now) = (line(64, 0), SystemClock.now());
        assert!(gets(&mut line, ANN, 40, Purpose::Finish, now));
        let large = waits(line.ask(BOB, 40, Purpose::Finish, now));
        for _ in 0..PASSED_MAX {
            assert!(gets(&mut line, CAT, 1, Purpose::Finish, now));
        }
        assert!(!gets(&mut line, CAT, 1, Purpose::Finish, now));
        assert_eq!(line.give_back(ANN, 40, now), [large]);
        assert!(gets(&mut line, CAT, 1, Purpose::Finish, now));
    }

    #[test]
    fn a_large_wish_is_not_passed_for_long() {
        let (mut line, now) = (line(64, 0), SystemClock.now());
        assert!(gets(&mut line, ANN, 40, Purpose::Finish, now));
        waits(line.ask(BOB, 40, Purpose::Finish, now));
        assert!(gets(&mut line, CAT, 1, Purpose::Finish, now));
        let late = now + PASSED_FOR_MAX;
        assert!(!gets(&mut line, CAT, 1, Purpose::Finish, late));
    }

    #[test]
    fn what_begins_leaves_enough_to_finish_one() {
        let (mut line, now) = (line(20, 8), SystemClock.now());
        for user in 0..12 {
            assert!(gets(&mut line, Holder(user), 1, Purpose::Begin, now));
        }
        assert!(!gets(&mut line, ANN, 1, Purpose::Begin, now));
        assert!(gets(&mut line, Holder(3), 7, Purpose::Finish, now));
        assert!(!gets(&mut line, Holder(4), 7, Purpose::Finish, now));
        // It comes to its end, and the next one has its turn.
        assert!(line.give_back(Holder(3), 8, now).is_empty());
        assert!(gets(&mut line, Holder(4), 7, Purpose::Finish, now));
    }

    #[test]
    fn who_has_begun_everything_finishes_one_at_a_time_while_others_wait_to_begin() {
        let (mut line, now) = (line(40, 8), SystemClock.now());
        for _ in 0..32 {
            assert!(gets(&mut line, ANN, 1, Purpose::Begin, now));
        }
        let bob = waits(line.ask(BOB, 1, Purpose::Begin, now));
        assert!(gets(&mut line, ANN, 7, Purpose::Finish, now));
        assert!(!gets(&mut line, ANN, 1, Purpose::Finish, now));
        let next = waits(line.ask(ANN, 7, Purpose::Finish, now));
        // Half of it is not enough for either.
        assert!(line.give_back(ANN, 4, now).is_empty());
        assert!(line.has_too_much(ANN) && !line.has_too_much(BOB));
        assert_eq!(line.give_back(ANN, 4, now), [bob, next]);
    }

    #[test]
    fn who_kept_others_waiting_for_long_does_not_begin_so_much_again() {
        let (mut line, now) = (line(24, 8), SystemClock.now());
        for _ in 0..16 {
            assert!(gets(&mut line, ANN, 1, Purpose::Begin, now));
        }
        let bob = waits(line.ask(BOB, 1, Purpose::Begin, now));
        let later = now + PASSED_FOR_MAX;
        let more = waits(line.ask(ANN, 1, Purpose::Begin, later));
        assert_eq!(line.give_back(ANN, 1, later), [bob]);
        assert!(line.is_strict(later) && line.became_strict() && !line.became_strict());
        assert_eq!(line.give_back(BOB, 1, later), []);
        // Nobody waits, and there is some; yet it is not for her until she has less.
        assert_eq!(line.give_back(ANN, 7, later), []);
        assert!(gets(&mut line, BOB, 1, Purpose::Begin, later));
        assert_eq!(line.give_back(ANN, 1, later), [more]);
        assert!(gets(&mut line, ANN, 1, Purpose::Begin, later + STRICT_FOR));
    }

    #[test]
    fn whoever_keeps_what_they_have_leaves_some_to_those_who_come_later() {
        let mut line = Line::new(1_024, 0, Shares::HalfOfTheRest);
        let now = SystemClock.now();
        for (user, most) in [(1, 512), (2, 256), (3, 128), (4, 64)] {
            let mut got = 0;
            while gets(&mut line, Holder(user), 1, Purpose::Finish, now) {
                got += 1;
            }
            assert_eq!(got, most);
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nobody_waits_for_ever(
            steps in prop::collection::vec((0_u64..4, 1_u64..30, any::<bool>()), 1..200),
            thirds in any::<bool>(),
        ) {
            let shares = if thirds { Shares::WhileOthersWait(21) } else { Shares::HalfOfTheRest };
            let mut line = Line::new(64, 8, shares);
            let mut now = SystemClock.now();
            let mut held: Vec<(Holder, u64)> = Vec::new();
            let mut wants: HashMap<Waiter, (Holder, u64)> = HashMap::new();
            let hear = |held: &mut Vec<_>, wants: &mut HashMap<_, _>, served: Vec<Waiter>| {
                for waiter in served {
                    held.push(wants.remove(&waiter).unwrap());
                }
            };
            for (user, bytes, begin) in steps {
                now += Duration::from_millis(300);
                let holder = Holder(user);
                let purpose = if begin { Purpose::Begin } else { Purpose::Finish };
                if bytes > 20 {
                    // Somebody gives back.
                    if let Some((holder, bytes)) = held.pop() {
                        let served = line.give_back(holder, bytes, now);
                        hear(&mut held, &mut wants, served);
                    }
                    continue;
                }
                let (waiter, served) = line.ask(holder, bytes, purpose, now);
                wants.insert(waiter, (holder, bytes));
                hear(&mut held, &mut wants, served);
                let sum: u64 = held.iter().map(|(_, bytes)| bytes).sum();
                prop_assert_eq!(sum + line.free(), 64);
            }
            while let Some((holder, bytes)) = held.pop() {
                let served = line.give_back(holder, bytes, now);
                hear(&mut held, &mut wants, served);
            }
            prop_assert!(wants.is_empty(), "{wants:?}");
            prop_assert_eq!(line.free(), 64);
        }

        /// Files begin with one byte each, and need seven more to come to their end.
        #[test]
        fn half_filled_parts_never_keep_each_other_waiting(
            files in prop::collection::vec((0_u64..5, any::<bool>()), 1..80),
            all in 8_u64..64,
        ) {
            let mut line = Line::new(all, 7, Shares::WhileOthersWait((all / 3).max(8)));
            let now = SystemClock.now();
            // Who waits, for whom, and with what they have already.
            let mut wants: HashMap<Waiter, (Holder, u64)> = HashMap::new();
            let mut full: VecDeque<Holder> = VecDeque::new();
            let mut left = files.len();
            let mut files = files.into_iter();
            while left > 0 {
                let mut served = Vec::new();
                let mut done = None;
                match files.next() {
                    Some((user, true)) => {
                        let (waiter, also) = line.ask(Holder(user), 1, Purpose::Begin, now);
                        wants.insert(waiter, (Holder(user), 0));
                        served.extend(also);
                    }
                    Some((_, false)) => {
                        left -= 1;
                        done = full.pop_front();
                    }
                    None => {
                        done = full.pop_front();
                        prop_assert!(done.is_some(), "all wait for each other: {line:?}");
                    }
                }
                if let Some(holder) = done {
                    left -= 1;
                    served.extend(line.give_back(holder, 8, now));
                }
                while let Some(waiter) = served.pop() {
                    let (holder, has) = wants.remove(&waiter).unwrap();
                    if has == 1 {
                        full.push_back(holder);
                        continue;
                    }
                    let (waiter, also) = line.ask(holder, 7, Purpose::Finish, now);
                    wants.insert(waiter, (holder, 1));
                    served.extend(also);
                }
            }
            prop_assert_eq!((line.free(), line.waiting()), (all, 0));
        }
    }
}
