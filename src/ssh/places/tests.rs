use std::net::Ipv6Addr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::{Clock as _, SystemClock};

fn places(connections: usize, waiting: usize, per_source: usize) -> Places {
    Places::new(Bounds {
        connections_max: connections,
        waiting_max: waiting,
        per_source_max: per_source,
    })
}

#[expect(clippy::unnecessary_wraps, reason = "as places take it")]
fn from(text: &str) -> Option<Source> {
    Some(Source {
        address: text.parse().unwrap(),
        exempt: false,
    })
}

fn exempt(text: &str) -> Option<Source> {
    from(text).map(|source| Source {
        exempt: true,
        ..source
    })
}

/// A time at which everything else is long ago.
#[expect(clippy::arithmetic_side_effects, reason = "some thousand seconds")]
fn later() -> Instant {
    static BEGAN: LazyLock<Instant> = LazyLock::new(|| SystemClock.now());
    static NEXT: AtomicU64 = AtomicU64::new(1);
    *BEGAN + Duration::from_secs(NEXT.fetch_add(1, Ordering::Relaxed))
}

fn admit(places: &mut Places, source: Option<Source>) -> (Ticket, Option<Ticket>) {
    let arrival = places.admit(source, later()).unwrap();
    (arrival.ticket, arrival.displaced)
}

#[test]
fn each_bound_holds_and_frees_its_room_again() {
    let mut all = places(2, 2, 9);
    let (first, _) = admit(&mut all, from("10.0.0.1"));
    let (second, _) = admit(&mut all, from("10.0.0.2"));
    all.authenticated(first);
    all.authenticated(second);
    let third = from("10.0.0.3");
    assert_eq!(all.admit(third, later()).unwrap_err(), OverCap::Connections);
    all.leave(first);
    assert_eq!(admit(&mut all, third).1, None);

    let mut source = places(9, 9, 1);
    admit(&mut source, from("10.0.0.1"));
    let again = from("::ffff:10.0.0.1");
    assert_eq!(source.admit(again, later()).unwrap_err(), OverCap::Source);
    admit(&mut source, from("10.0.0.2"));
}

#[test]
fn the_network_that_holds_most_gives_way() {
    let mut all = places(99, 6, 99);
    let (bad, other) = (from("10.0.0.1"), from("10.0.0.2"));
    let tickets: Vec<_> = (0..4).map(|_| admit(&mut all, bad).0).collect();
    for _ in 0..2 {
        admit(&mut all, other);
    }
    // First a connection without a finished key exchange, then the oldest.
    for ticket in [tickets[0], tickets[1], tickets[3]] {
        all.keys_exchanged(ticket);
    }
    let new = from("10.0.0.3");
    assert_eq!(admit(&mut all, new).1, Some(tickets[2]));
    assert_eq!(admit(&mut all, from("10.0.0.4")).1, Some(tickets[0]));
    // Whoever holds most replaces one of their own, though another has not exchanged keys.
    assert_eq!(admit(&mut all, bad).1, Some(tickets[1]));
    assert_eq!((all.connections(), all.waiting()), (6, 6));
}

#[test]
fn among_equals_the_oldest_gives_way_wherever_it_comes_from() {
    for addresses in [["10.0.0.1", "10.0.0.9"], ["10.0.0.9", "10.0.0.1"]] {
        let mut all = places(99, 2, 99);
        let (first, _) = admit(&mut all, from(addresses[0]));
        let (second, _) = admit(&mut all, from(addresses[1]));
        assert_eq!(admit(&mut all, from("10.0.0.5")).1, Some(first));
        assert_eq!(admit(&mut all, from("10.0.0.6")).1, Some(second));
    }
}

#[test]
fn whoever_is_logged_in_keeps_the_place_and_counts_no_more() {
    let mut all = places(9, 2, 9);
    let one = from("10.0.0.1");
    let (user, _) = admit(&mut all, one);
    all.authenticated(user);
    let (waiting, _) = admit(&mut all, one);
    let (other, _) = admit(&mut all, from("10.0.0.2"));
    assert_eq!(admit(&mut all, from("10.0.0.3")).1, Some(waiting));
    assert_eq!(admit(&mut all, from("10.0.0.4")).1, Some(other));
    assert_eq!((all.connections(), all.waiting()), (3, 2));
}

#[test]
fn exempt_sources_give_way_last_and_the_bound_of_the_process_holds() {
    let mut all = places(9, 4, 9);
    let balancer = exempt("10.0.0.1");
    let hidden: Vec<_> = (0..2).map(|_| admit(&mut all, balancer).0).collect();
    let (first, _) = admit(&mut all, from("10.0.0.2"));
    let (second, _) = admit(&mut all, from("10.0.0.3"));
    all.keys_exchanged(first);
    // Half of the places are the balancer's, however old its connections are.
    let (third, gone) = admit(&mut all, from("10.0.0.4"));
    assert_eq!(gone, Some(second));
    let (more, gone) = admit(&mut all, balancer);
    assert_eq!(gone, Some(third));
    // With more than half it replaces its own: first one without a finished key exchange.
    all.keys_exchanged(hidden[0]);
    assert_eq!(admit(&mut all, balancer).1, Some(hidden[1]));
    all.leave(second);
    assert_eq!(admit(&mut all, balancer).1, Some(more));
    assert_eq!((all.connections(), all.waiting()), (4, 4));
}

#[test]
fn exempt_sources_that_fill_every_place_keep_nobody_out() {
    let mut all = places(99, 8, 99);
    let balancer = exempt("10.0.0.1");
    let hidden: Vec<_> = (0..8).map(|_| admit(&mut all, balancer).0).collect();
    let others: Vec<_> = (2..6)
        .map(|host| {
            let (ticket, gone) = admit(&mut all, from(&format!("10.0.0.{host}")));
            assert!(gone.is_some_and(|gone| hidden.contains(&gone)));
            all.leave(gone.unwrap());
            ticket
        })
        .collect();
    // Nor does one that hides behind the balancer drive the others away.
    let mut own = hidden;
    own.push(admit(&mut all, balancer).0);
    assert_eq!(
        all.entries.keys().filter(|it| others.contains(it)).count(),
        3
    );
    for _ in 0..9 {
        let (ticket, gone) = admit(&mut all, balancer);
        assert!(own.contains(&gone.unwrap()));
        all.leave(gone.unwrap());
        own.push(ticket);
    }
}

#[test]
fn exempt_sources_may_have_as_many_connections_as_there_may_be() {
    let mut all = places(5, 9, 1);
    let balancer = exempt("10.0.0.1");
    for _ in 0..5 {
        let (ticket, _) = admit(&mut all, balancer);
        all.authenticated(ticket);
    }
    assert_eq!(
        all.admit(balancer, later()).unwrap_err(),
        OverCap::Connections
    );
}

#[test]
fn a_wide_network_of_many_hosts_is_one_holder() {
    let mut all = places(999, 40, 999);
    let host = |n: u16| from(&format!("2001:db8:1:{n:x}::1"));
    let attackers: Vec<_> = (0..38).map(|n| admit(&mut all, host(n * 256)).0).collect();
    let honest = from("2001:db8:2::1");
    admit(&mut all, honest);
    admit(&mut all, honest);
    // 38 hosts of one /48 weigh more than two connections of one host, and than a newcomer's one.
    assert_eq!(admit(&mut all, from("10.0.0.1")).1, Some(attackers[0]));
    assert_eq!(admit(&mut all, host(9)).1, Some(attackers[1]));
}

#[test]
fn connections_per_source_grow_with_the_network() {
    let mut all = places(999, 999, 2);
    let mut within = |text: &str| all.admit(from(text), later()).is_ok();
    assert!(within("2001:db8::1") && within("2001:db8::2"));
    assert!(!within("2001:db8::3"), "a /64 has one share");
    assert!(within("2001:db8:0:1::1") && within("2001:db8:0:2::1"));
    assert!(!within("2001:db8:0:3::1"), "a /56 has two shares");
    for host in 0x10..0x14 {
        assert!(within(&format!("2001:db8:0:{host:x}00::1")));
    }
    assert!(!within("2001:db8:0:9900::1"), "a /48 has four shares");
    assert!(within("2001:db8:1::1"));
}

#[test]
fn a_source_that_is_named_later_counts_from_then_on() {
    let mut all = places(9, 9, 1);
    let (first, _) = admit(&mut all, None);
    let (second, _) = admit(&mut all, None);
    let one = from("10.0.0.1").unwrap();
    all.name(first, one).unwrap();
    assert_eq!(all.name(second, one), Err(OverCap::Source));
    all.leave(first);
    all.name(second, one).unwrap();
    // Of who is gone nothing counts any more.
    all.leave(second);
    all.name(second, one).unwrap();
    assert!(all.holders.is_empty());
}

#[test]
fn connections_that_are_not_named_yet_are_one_network() {
    let mut all = places(9, 4, 9);
    let (named, _) = admit(&mut all, None);
    all.name(named, from("10.0.0.1").unwrap()).unwrap();
    let silent: Vec<_> = (0..3).map(|_| admit(&mut all, None).0).collect();
    // The oldest of them gives way, though the one that was named is older.
    let (next, gone) = admit(&mut all, None);
    assert_eq!(gone, Some(silent[0]));
    all.leave(silent[0]);
    all.name(next, from("10.0.0.2").unwrap()).unwrap();
    assert_eq!(admit(&mut all, None).1, Some(silent[1]));
    all.leave(silent[1]);
    assert_eq!(admit(&mut all, from("10.0.0.3")).1, Some(silent[2]));
    // Whoever holds more than they do goes first.
    let mut all = places(9, 4, 9);
    admit(&mut all, None);
    let bad: Vec<_> = (0..3)
        .map(|_| admit(&mut all, from("10.0.0.1")).0)
        .collect();
    assert_eq!(admit(&mut all, None).1, Some(bad[0]));
}

#[test]
fn no_more_connections_are_on_their_way_out_than_there_are_places() {
    let mut all = places(9, 2, 9);
    let one = from("10.0.0.1");
    admit(&mut all, one);
    admit(&mut all, one);
    let (_, first) = admit(&mut all, one);
    admit(&mut all, one);
    assert_eq!(
        all.admit(one, later()).unwrap_err(),
        OverCap::Unauthenticated
    );
    all.leave(first.unwrap());
    assert!(all.admit(one, later()).is_ok());
}

#[test]
fn a_network_does_not_replace_its_own_at_any_pace() {
    let now = later();
    let moment = PLACE_KEPT_AT_LEAST / 2;
    for (one, own) in [
        ("10.0.0.1", "10.0.0.1"),
        // Another customer's host, and a host of the same customer.
        ("2001:db8::1", "2001:db8:0:0:ff::1"),
    ] {
        let mut all = places(9, 2, 9);
        for _ in 0..2 {
            all.admit(from(one), now).unwrap();
        }
        let early = all.admit(from(own), now + moment);
        assert_eq!(early.unwrap_err(), OverCap::Unauthenticated);
        // Anybody else may come at once.
        let other = all.admit(from("10.9.9.9"), now + moment).unwrap();
        assert_eq!(other.displaced, Some(0));
        all.leave(0);
        let again = all.admit(from(own), now + 2 * moment).unwrap();
        assert_eq!(again.displaced, Some(1), "its turn");
    }
    // A balancer's connections are anybody's.
    let mut unnamed = places(9, 2, 9);
    for _ in 0..3 {
        unnamed.admit(None, now).unwrap();
    }
}

#[derive(Debug, Clone)]
enum Step {
    Admit(u8, bool),
    Nameless,
    Name(usize, u8, bool),
    Exchange(usize),
    Authenticate(usize),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any_of = || any::<usize>();
    let step = prop_oneof![
        8 => (0_u8..12, prop::bool::weighted(0.3)).prop_map(|(from, x)| Step::Admit(from, x)),
        3 => Just(Step::Nameless),
        2 => (any_of(), 0_u8..12, prop::bool::weighted(0.2))
            .prop_map(|(at, from, x)| Step::Name(at, from, x)),
        2 => any_of().prop_map(Step::Exchange),
        2 => any_of().prop_map(Step::Authenticate),
        4 => any_of().prop_map(Step::Leave),
    ];
    prop::collection::vec(step, 0..120)
}

/// Few addresses, so that they meet: four in IPv4, eight in two /48s of two /56s of two /64s.
fn address(index: u8) -> IpAddr {
    match index {
        0..4 => IpAddr::from([10, 0, 0, index]),
        _ => {
            let (net, wide, host) = (index & 4, index & 2, index & 1);
            let fourth = (u16::from(wide) << 8) | u16::from(host);
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, net.into(), fourth, 0, 0, 0, 1))
        }
    }
}

/// Recounts what a network holds of those who can give way.
fn held(entries: &HashMap<Ticket, Entry>, network: Network, newcomer: Option<Entry>) -> usize {
    let waiting = entries.values().copied().filter(|entry| entry.waiting);
    waiting
        .chain(newcomer)
        .filter(|entry| networks(entry.source).any(|one| one == network))
        .count()
}

/// What the networks of a source hold, or the one that holds most for its share.
fn heaviest(
    entries: &HashMap<Ticket, Entry>,
    of: impl Iterator<Item = Network>,
    newcomer: Entry,
) -> Option<usize> {
    of.map(|one| one.breadth.weight(held(entries, one, Some(newcomer))))
        .max()
}

/// Says whether the right one gave way, by recounting who has which place.
fn check_displaced(before: &Places, gone: Ticket, source: Option<Source>) {
    let (entries, gone) = (&before.entries, before.entries[&gone]);
    let newcomer = Entry {
        source,
        since: later(),
        waiting: true,
        keys_exchanged: false,
    };
    let is_exempt = |source: Option<Source>| source.is_some_and(|source| source.exempt);
    let exempt = networks(exempt("10.0.0.1")).next().unwrap();
    let in_all = entries.values().filter(|entry| entry.waiting).count();
    let beyond = held(entries, exempt, None).saturating_sub(in_all / 2);
    let others = before.ranking.iter().map(|rank| rank.network);
    let most = heaviest(entries, others, newcomer);
    assert!(gone.waiting);
    if is_exempt(gone.source) {
        let own = is_exempt(source) && beyond > 0;
        assert!(own || most.is_none_or(|most| exempt.breadth.weight(beyond) >= most));
    } else {
        assert!(!(is_exempt(source) && beyond > 0));
        let weight = heaviest(entries, networks(gone.source), newcomer);
        assert_eq!(weight, most);
        assert!(weight >= Some(exempt.breadth.weight(beyond)));
    }
}

fn check_counts(places: &Places) {
    let waiting = places.entries.values().filter(|entry| entry.waiting);
    assert_eq!(places.waiting, waiting.count());
    let exempt = networks(exempt("10.0.0.1")).next().unwrap();
    assert_eq!(
        places.exempt.waiting.len(),
        held(&places.entries, exempt, None)
    );
    for (network, holder) in &places.holders {
        let mine = |entry: &&Entry| networks(entry.source).any(|one| one == *network);
        assert_eq!(
            holder.connections,
            places.entries.values().filter(mine).count()
        );
        assert!(holder.connections > 0 && holder.arriving == 0);
        assert_eq!(holder.waiting.len(), held(&places.entries, *network, None));
        let ranked = holder.rank(*network);
        assert!(ranked.is_none_or(|rank| places.ranking.contains(&rank)));
    }
    let ranked = places.holders.values().filter(|h| !h.waiting.is_empty());
    assert_eq!(places.ranking.len(), ranked.count());
    assert!(places.entries.len() <= places.bounds.connections_max);
    assert!(places.waiting <= places.bounds.waiting_max);
    assert!(places.leaving.len() <= places.bounds.waiting_max);
}

proptest! {
    #[test]
    #[expect(clippy::arithmetic_side_effects, reason = "numbers of tests, not of clients")]
    fn counts_never_go_wrong_and_the_biggest_holder_gives_way(steps in steps()) {
        let mut places = places(9, 6, 4);
        let mut tickets: Vec<Ticket> = Vec::new();
        let pick = |tickets: &[Ticket], at: usize| tickets.get(at % tickets.len().max(1)).copied();
        for step in steps {
            match step {
                Step::Admit(..) | Step::Nameless => {
                    let source = match step {
                        Step::Admit(from, exempt) => Some(Source { address: address(from), exempt }),
                        Step::Nameless
                        | Step::Name(..)
                        | Step::Exchange(_)
                        | Step::Authenticate(_)
                        | Step::Leave(_) => None,
                    };
                    let before = places.clone();
                    if let Ok(arrival) = places.admit(source, later()) {
                        tickets.push(arrival.ticket);
                        if let Some(gone) = arrival.displaced {
                            check_displaced(&before, gone, source);
                        }
                    }
                }
                Step::Name(at, from, exempt) => {
                    if let Some(ticket) = pick(&tickets, at) {
                        let source = Source { address: address(from), exempt };
                        let _ = places.name(ticket, source);
                    }
                }
                Step::Exchange(at) => {
                    if let Some(ticket) = pick(&tickets, at) { places.keys_exchanged(ticket); }
                }
                Step::Authenticate(at) => {
                    if let Some(ticket) = pick(&tickets, at) { places.authenticated(ticket); }
                }
                Step::Leave(at) => {
                    if let Some(ticket) = pick(&tickets, at) {
                        places.leave(ticket);
                        tickets.retain(|other| *other != ticket);
                    }
                }
            }
            check_counts(&places);
        }
        for ticket in tickets { places.leave(ticket); }
        prop_assert!(places.entries.is_empty() && places.leaving.is_empty());
        prop_assert!(places.holders.is_empty() && places.ranking.is_empty());
        prop_assert_eq!((places.exempt.connections, places.exempt.waiting.len()), (0, 0));
        prop_assert_eq!(places.waiting, 0);
    }
}
