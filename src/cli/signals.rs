//! The runtime around a command that serves: the first signal drains, the second ends at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Exit, Failure, output};

/// Runs a command until it ends by itself or was told to, twice if need be.
pub(super) fn run<C, F, T>(command: C) -> Result<T, Failure>
where
    C: FnOnce(CancellationToken) -> F,
    F: Future<Output = anyhow::Result<T>>,
{
    let failed = |error: anyhow::Error| Failure::Run(format!("{error:#}"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| failed(error.into()))?;
    let outcome = runtime.block_on(async {
        let stop = CancellationToken::new();
        let serving = command(stop.clone());
        // The handlers stand before the work begins: a signal that comes at once ends it as well.
        tokio::select! {
            biased;
            failure = stop_twice(&stop) => Err(failure),
            outcome = serving => outcome.map_err(failed),
        }
    });
    // A call into the system's resolver may still hang on a thread of its own.
    runtime.shutdown_background();
    outcome
}

/// Works until the first signal: a person who presses Ctrl-C wants no answer any more.
pub(super) async fn until(
    stop: CancellationToken,
    work: impl Future<Output = anyhow::Result<Exit>>,
) -> anyhow::Result<Exit> {
    tokio::select! {
        outcome = work => outcome,
        () = stop.cancelled() => {
            output::error("stopped by a signal");
            Ok(Exit::Unavailable)
        }
    }
}

async fn stop_twice(stop: &CancellationToken) -> Failure {
    let listen = || {
        Ok::<_, std::io::Error>((
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        ))
    };
    let (mut terminate, mut interrupt) = match listen() {
        Ok(signals) => signals,
        Err(error) => return Failure::Run(error.to_string()),
    };
    for round in 0..2 {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if round == 0 {
            tracing::info!("stopping: open transfers may finish, a second signal ends them");
            stop.cancel();
        }
    }
    output::error("ended by a second signal");
    Failure::Run("transfers were interrupted".to_owned())
}
