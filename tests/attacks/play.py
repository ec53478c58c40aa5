"""Plays an attack: phases without and with the hostile client, then everything that must hold."""

import dataclasses
import os
import statistics
import time
import traceback

from cases import expect
from facts import settles
from gateway import finish
from processes import Failed
from scene import PASSWORD, SESSIONS, Scene

# Sockets to the identity provider: as many as questions may be under way.
QUESTIONS_MAX = 64
# The few files that a runtime opens.
OTHER_DESCRIPTORS_SLACK = 4
SETTLE_SECONDS_MAX = 20
# What one round of an honest session writes to the log, and one act that may have a line.
ROUND_LOG_BYTES_MAX = 4 * 1024
LINE_BYTES_MAX = 1_536


@dataclasses.dataclass
class Phase:
    """What the honest sessions saw, and what the gateway spent."""

    hostile: bool
    record: dict
    seconds: float
    cpu_seconds: float

    def median(self, what):
        times = [row[what] for row in self.record["rounds"] if what in row]
        return statistics.median(times) if times else None


@dataclasses.dataclass
class Played:
    """One attack that was played, and what was found wrong."""

    attack: object
    phases: list = dataclasses.field(default_factory=list)
    wrong: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)
    acts: dict = dataclasses.field(default_factory=dict)
    peak_mib: float = 0.0
    log_bytes: int = 0
    seconds: float = 0.0

    def rounds(self, *, hostile):
        chosen = [phase for phase in self.phases if phase.hostile == hostile]
        return sum(len(phase.record["rounds"]) for phase in chosen)


def play(attack, binary, directory, *, long=False, rounds=1, asserting=True, lowest=False):
    """Plays one attack against a gateway of its own; never raises what it finds wrong.

    With `lowest` the hostile client runs only while nobody else wants to; so does this process
    from then on, and what it starts.
    """
    began, played = time.monotonic(), Played(attack)
    directory.mkdir()
    scene, before = Scene(binary, directory, attack, long=long), None
    try:
        with scene.started():
            for _ in range(rounds):
                played.phases.append(run_phase(scene, None, long))
                before = before or scene.process.descriptors(ports(scene))
                if lowest:
                    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
                played.phases.append(run_phase(scene, attack, long))
            if asserting:
                collect(played, scene, before)
            measure(played, scene)
            if asserting:
                guarded(played, lambda: finish(scene.gateway))
    except Failed as error:
        played.wrong.append(str(error))
    except Exception:  # one broken attack must not hide the others
        trace = traceback.format_exc().splitlines(keepends=True)[-8:]
        played.wrong.append("".join(trace).strip())
    played.seconds = time.monotonic() - began
    return played


def run_phase(scene, attack, long):
    """One phase beside the honest sessions, with the hostile client or without."""
    seconds = (5 if long else 1.5) if attack is None else attack.seconds[long]
    name = "quiet" if attack is None else f"hostile{scene.hostile_phases}"
    scene.hostile_phases += attack is not None
    cpu, began = scene.process.cpu_seconds(), time.monotonic()
    scene.deadline = began + seconds
    scene.honest.begin(name)
    try:
        if attack is not None:
            attack.hostile(scene)
        while not scene.over():
            time.sleep(0.05)
    finally:
        record = scene.honest.end()
        scene.records.append(record)
    took = time.monotonic() - began
    return Phase(attack is not None, record, took, scene.process.cpu_seconds() - cpu)


def collect(played, scene, before):
    """Looks at everything that must hold, and notes what does not."""
    attack = scene.attack
    expectations = [
        lambda: alive(scene),
        lambda: honest_rounds(played, attack),
        lambda: nobody_refused(scene),
        lambda: nothing_left(scene, before),
        lambda: bounded(scene, played),
        lambda: attack.check(scene),
    ]
    for expectation in expectations:
        guarded(played, expectation)
    played.wrong += scene.wrong


def guarded(played, expectation):
    try:
        expectation()
    except (Failed, AssertionError, OSError) as error:
        played.wrong.append(str(error))


def measure(played, scene):
    played.peak_mib = scene.process.peak_mib()
    played.log_bytes = scene.log.bytes()
    played.acts, played.notes = dict(scene.acts), scene.notes


def alive(scene):
    expect(scene.gateway.process.poll() is None, "the gateway has ended")
    expect("panicked" not in scene.log.text(), "the gateway panicked")


def honest_rounds(played, attack):
    """Every honest login gets in, every transfer ends and is exact."""
    for phase in played.phases:
        failures, done = phase.record["failures"], len(phase.record["rounds"])
        logins = [row for row in failures if row[0] == "login"]
        allowed = attack.lost_logins_percent_max * phase.hostile * (done + len(failures)) / 100
        worse = [row for row in failures if row[0] != "login"]
        which = "with the attack" if phase.hostile else "without any attack"
        first = "; ".join(f"{user}: {why}" for _, user, why in (worse + logins)[:3])
        expect(
            not worse and len(logins) <= allowed,
            f"{which} {len(logins)} honest logins and {len(worse)} transfers of "
            f"{done + len(failures)} rounds failed: {first}",
        )


def nobody_refused(scene):
    """No line refuses an honest user at the user's own address."""
    if scene.attack.log_format != "json":
        return
    sources = {row["source"] for phase in scene.plan["phases"].values() for row in phase}
    refused = [row for row in scene.log.logins() if row["source_ip"] in sources]
    refused = [row for row in refused if row["message"] == "login refused"]
    reasons = sorted({str(row.get("reason")) for row in refused})
    expect(not refused, f"{len(refused)} honest attempts were refused: {', '.join(reasons)}")


def nothing_left(scene, before):
    """Once all clients are gone, nothing of them is open."""
    left = settles(scene.metrics, SETTLE_SECONDS_MAX)
    expect(not left, f"after {SETTLE_SECONDS_MAX} s without clients: {left}")
    now = scene.process.descriptors(ports(scene))
    expect(now["ssh"] == 0, f"{now['ssh']} sockets of SSH clients are left")
    expect(now["service"] <= QUESTIONS_MAX, f"{now['service']} sockets to the provider are left")
    kept = scene.attack.s3_connections_max
    expect(now["s3"] <= kept, f"{now['s3']} sockets to S3 are left")
    most = before["other"] + OTHER_DESCRIPTORS_SLACK
    expect(now["other"] <= most, f"{now['other']} other descriptors instead of {before['other']}")


def bounded(scene, played):
    """Memory and log stay within what the attack states; no secret is in the log."""
    attack, peak, log = scene.attack, scene.process.peak_mib(), scene.log.bytes()
    expect(peak <= attack.peak_mib_max, f"{peak:.0f} MiB; allowed: {attack.peak_mib_max}")
    rounds = played.rounds(hostile=False) + played.rounds(hostile=True)
    hostile_phases = sum(phase.hostile for phase in played.phases)
    acts = sum(scene.acts[what] for what in attack.with_a_line)
    most = attack.log_bytes_max * hostile_phases + acts * LINE_BYTES_MAX
    most += (rounds + SESSIONS) * ROUND_LOG_BYTES_MAX
    expect(log <= most, f"{log:,} bytes of log; allowed: {most:,}")
    expect(PASSWORD not in scene.log.text(), "the log holds a password")


def ports(scene):
    return {
        scene.port: "ssh",
        scene.admin: "admin",
        scene.s3_port: "s3",
        int(scene.service_url.rstrip("/").rsplit(":", 1)[1]): "service",
    }
