//! Who is refused, for how long, and who is not.

use super::*;
use crate::clock::{Clock as _, SystemClock};

/// Refuses a password as a provider would; returns how late the next refusal comes.
fn fail(throttle: &Throttle, user: &str, source: IpAddr, reason: Reason, now: Instant) -> u32 {
    let refusal = Refusal::new(reason);
    throttle.refused(user, source, &refusal, now).refusals
}

const WRONG: Reason = Reason::NotAllowed;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn throttle(failures_max: u32, failures_per_source_max: u32) -> (Throttle, Instant) {
    let settings = ThrottleSettings {
        failures_max,
        failures_per_source_max,
        unthrottled: vec!["10.0.0.0/8".parse().unwrap()],
        ..ThrottleSettings::default()
    };
    let history = Arc::new(LoginHistory::new(settings.window));
    (Throttle::new(settings, history), SystemClock.now())
}

/// Lets it be known that there are several sources.
fn crowd(throttle: &Throttle, now: Instant) {
    for source in ["198.51.100.1", "198.51.100.2"] {
        throttle.source(ip(source), now).unwrap();
    }
}

#[test]
fn a_user_is_locked_out_at_one_source_and_nowhere_else() {
    let (throttle, now) = throttle(3, 100);
    crowd(&throttle, now);
    let (bad, good) = (ip("192.0.2.1"), ip("192.0.2.2"));
    for failures in 1..=3 {
        assert_eq!(throttle.password("ann", bad, now), Ok(()));
        assert_eq!(fail(&throttle, "Ann", bad, WRONG, now), failures);
    }
    assert_eq!(throttle.password("ANN", bad, now), Err(Reason::LockedOut));
    assert_eq!(throttle.password("bob", bad, now), Ok(()));
    assert_eq!(throttle.password("ann", good, now), Ok(()));
    assert_eq!(throttle.source(bad, now), Ok(()));
    let later = now + Duration::from_secs(901);
    assert_eq!(throttle.password("ann", bad, later), Ok(()));
}

#[test]
fn a_source_is_locked_out_for_every_name() {
    let (throttle, now) = throttle(100, 3);
    crowd(&throttle, now);
    let source = ip("2001:db8::1");
    for name in ["a", "b", "c"] {
        fail(&throttle, name, source, WRONG, now);
    }
    // One host has a whole /64.
    assert_eq!(
        throttle.source(ip("2001:db8::2"), now),
        Err(Reason::SourceLockedOut)
    );
    assert_eq!(
        throttle.password("d", source, now),
        Err(Reason::SourceLockedOut)
    );
    assert_eq!(throttle.source(ip("2001:db8:0:1::1"), now), Ok(()));
}

#[test]
fn what_may_be_about_the_gateway_locks_out_the_pair_at_most() {
    let (throttle, now) = throttle(3, 2);
    crowd(&throttle, now);
    let source = ip("192.0.2.1");
    for _ in 0..10 {
        assert_eq!(fail(&throttle, "ann", source, Reason::Timeout, now), 0);
    }
    assert_eq!(throttle.password("ann", source, now), Ok(()));
    for failures in 1..=3 {
        let counted = fail(&throttle, "ann", source, Reason::StatusDenied, now);
        assert_eq!(counted, failures);
    }
    assert_eq!(
        throttle.password("ann", source, now),
        Err(Reason::LockedOut)
    );
    assert_eq!(throttle.source(source, now), Ok(()));
}

#[test]
fn failures_of_a_source_that_are_spread_over_a_day_lock_nobody_out() {
    let (throttle, now) = throttle(100, 3);
    let office = ip("192.0.2.1");
    for minute in (0..24 * 60).step_by(10) {
        let then = now + Duration::from_secs(minute * 60);
        crowd(&throttle, then);
        fail(&throttle, &format!("user-{minute}"), office, WRONG, then);
        assert_eq!(throttle.source(office, then), Ok(()), "minute {minute}");
    }
}

#[test]
fn behind_one_address_no_source_is_locked_out_and_a_user_only_briefly() {
    let (throttle, now) = throttle(2, 3);
    let balancer = ip("192.0.2.1");
    for _ in 0..50 {
        throttle.source(balancer, now).unwrap();
        fail(&throttle, "ann", balancer, WRONG, now);
    }
    assert_eq!(throttle.password("bob", balancer, now), Ok(()));
    assert_eq!(
        throttle.password("ann", balancer, now),
        Err(Reason::LockedOut)
    );
    let soon = now + limits::LOCKOUT_BEHIND_ONE_SOURCE;
    assert_eq!(throttle.password("ann", balancer, soon), Ok(()));
}

#[test]
fn the_right_password_and_the_operator_end_a_lockout() {
    let (throttle, now) = throttle(2, 2);
    crowd(&throttle, now);
    let source = ip("192.0.2.1");
    fail(&throttle, "ann", source, WRONG, now);
    throttle.succeeded("ann", source);
    assert_eq!(fail(&throttle, "ann", source, WRONG, now), 1);
    assert_eq!(fail(&throttle, "ann", source, WRONG, now), 2);
    assert_eq!(
        throttle.password("ann", source, now),
        Err(Reason::SourceLockedOut)
    );
    assert_eq!(throttle.unlock(Some("ANN"), None), 1);
    assert_eq!(
        throttle.password("ann", source, now),
        Err(Reason::SourceLockedOut)
    );
    assert_eq!(throttle.unlock(None, Some(source)), 1);
    assert_eq!(throttle.password("ann", source, now), Ok(()));
}

#[test]
fn trusted_networks_never_wait_and_tables_are_bounded() {
    let (throttle, now) = throttle(1, 1);
    crowd(&throttle, now);
    assert_eq!(fail(&throttle, "ann", ip("10.1.2.3"), WRONG, now), 0);
    assert_eq!(throttle.password("ann", ip("10.1.2.3"), now), Ok(()));
    for at in 0..limits::THROTTLE_ENTRIES_MAX + 1_000 {
        let later = now + Duration::from_millis(u64::try_from(at).unwrap());
        fail(
            &throttle,
            &format!("user-{at}"),
            ip("192.0.2.1"),
            WRONG,
            later,
        );
    }
    assert!(throttle.book().pairs.keys().count() <= limits::THROTTLE_ENTRIES_MAX);
}

#[test]
fn of_a_long_name_little_is_kept() {
    let (throttle, now) = throttle(2, 100);
    let long = "é".repeat(limits::USER_NAME_BYTES_MAX + 100_000);
    fail(&throttle, &long, ip("192.0.2.1"), WRONG, now);
    fail(&throttle, &long, ip("192.0.2.1"), WRONG, now);
    let lengths: Vec<usize> = throttle.book().pairs.keys().map(|(n, _)| n.len()).collect();
    assert_eq!(lengths, [2 * limits::USER_NAME_BYTES_MAX]);
    assert!(throttle.password(&long, ip("192.0.2.1"), now).is_err());
}

#[test]
fn lock_outs_are_told_once_and_by_kind() {
    let (throttle, now) = throttle(2, 3);
    crowd(&throttle, now);
    let source = ip("192.0.2.1");
    let wrong = Refusal::new(WRONG);
    let lockouts = |user: &str| throttle.refused(user, source, &wrong, now).lockouts;
    assert_eq!(lockouts("ann"), []);
    assert_eq!(lockouts("ann"), [Lockout::User]);
    assert_eq!(lockouts("bob"), [Lockout::Source]);
}

#[test]
fn the_names_that_one_source_looks_up_are_bounded() {
    let (throttle, now) = throttle(10, 100);
    let (bad, good) = (ip("192.0.2.1"), ip("192.0.2.2"));
    for name in 0..500 {
        assert_eq!(
            throttle.look_up(&format!("user-{name}"), bad, now),
            Ok(()),
            "from one address only"
        );
    }
    crowd(&throttle, now);
    for name in 0..100 {
        assert_eq!(throttle.look_up(&format!("user-{name}"), bad, now), Ok(()));
    }
    let over = |first| Err(NamesOverBound { first });
    assert_eq!(throttle.look_up("one-more", bad, now), over(true));
    assert_eq!(throttle.look_up("and-more", bad, now), over(false));
    assert_eq!(throttle.look_up("user-7", bad, now), Ok(()));
    assert_eq!(throttle.look_up("one-more", good, now), Ok(()));
    assert_eq!(throttle.look_up("one-more", ip("10.1.2.3"), now), Ok(()));
    // Who logs in here is looked up whatever others ask.
    throttle.history.let_in("ann", bad, "", now);
    assert_eq!(throttle.look_up("ann", bad, now), Ok(()));
    assert_eq!(throttle.unlock(None, Some(bad)), 1);
    assert_eq!(throttle.look_up("one-more", bad, now), Ok(()));
}
