//! What others wait for while a file keeps it, and files whose client sends too little meanwhile.

use std::time::Instant;

use super::{Awaited, MEMORY, Phase, WriteFile};

/// Gives back what is kept for comfort, or the file itself, where its time has come.
pub(super) fn time(file: &mut WriteFile, awaited: Awaited, held: bool, stuck: bool, now: Instant) {
    if file.deadline().is_none_or(|deadline| now < deadline) {
        return;
    }
    if file.keeps_full_part() {
        file.looked = now;
        if awaited != Awaited::Nobody || stuck {
            // Others need what is kept here for comfort.
            file.release();
            return;
        }
    }
    if now < file.rate.deadline() {
        return;
    }
    if stuck && !file.wanted.is_empty() && file.fills_slots() {
        // Half-filled parts wait for each other: one of them has to give way.
        file.fail(MEMORY, "no memory became free");
    }
    // Time in which its answers are withheld is not the client's, unless they wait for memory
    // that its own files have.
    let withheld = held || (!file.parked.is_empty() && awaited != Awaited::OthersWithLess);
    let slow = file.rate.is_too_slow(now, withheld);
    if slow && awaited != Awaited::Nobody && file.phase == Phase::Open {
        file.fail(MEMORY, "its client sent too little while others waited");
    }
}
