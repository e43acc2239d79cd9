//! A runner: it does what the leader says.

use std::{future::Future, io, pin::pin, time::Duration};

use flotilla_env::clock;
use futures::{FutureExt, future::select};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};
use tokio_util::task::AbortOnDropHandle;

use super::message::{Input, Order, Output, PROTOCOL, Reply};
use crate::{
    Error,
    command::{EXIT_ERROR, EXIT_INTERRUPTED, EXIT_OK},
    load::{engine::Engine, machine::Machine, measure, plan::Plan, series::Step, times::Times, view::View},
};

/// Messages on the way out; a leader that is so many seconds behind misses some of the series.
const REPLIES_MAX: usize = 1024;
/// How often the leader hears of this runner, whatever it does.
const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// A start that is further off is none: a clock was set meanwhile.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Orders on the way in.
const ORDERS_MAX: usize = 16;

/// The way to tell the leader of seconds.
#[derive(Debug, Clone)]
pub(crate) struct Told(mpsc::Sender<Reply>);

impl Told {
    /// Tells of a second.
    pub(crate) fn second(&self, step: &Step, latency: &Times) {
        // A leader that does not listen any more ends the run by itself.
        drop(self.0.try_send(Reply::Second(Box::new((step.clone(), latency.clone())))));
    }
}

/// Carries out one share of a load, as the leader at the other end of `input` and `output` says.
///
/// # Errors
/// [`Error::Leader`]: the connection broke, or what came over it was not understood.
///
/// # Cancel safety
/// Dropped, files stay. `interrupt`, and the end of `input`, end the run with a report of what was measured till then.
pub(crate) async fn run(
    input: impl AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Send + Unpin + 'static,
    interrupt: impl Future<Output = ()> + Send,
) -> Result<u8, Error> {
    let (replies, mut sending) = mpsc::channel::<Reply>(REPLIES_MAX);
    let (orders_in, mut orders) = mpsc::channel(ORDERS_MAX);
    // The leader knows by its first word who speaks: nothing else may say anything before.
    let hello =
        Reply::Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned(), cpus: Machine::this().cpus };
    let _ = replies.send(hello).await; // a leader that has gone is noticed by the reader
    let mut output = Output::new(output);
    let sender = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Some(reply) = sending.recv().await {
            output.send(&reply).await?;
        }
        Ok(())
    }));
    let reader = AbortOnDropHandle::new(tokio::spawn(read(Input::new(input), orders_in, replies.clone())));
    let told = replies.clone();
    let alive = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(ALIVE_EVERY);
        loop {
            ticks.tick().await;
            // A leader that is behind hears of it by what is on the way.
            drop(told.try_send(Reply::Alive));
        }
    }));
    let code = match carry_out(&mut orders, &replies, interrupt).await {
        Ok(code) => code,
        Err(error) => {
            let _ = replies.send(Reply::Failed(error.to_string())).await;
            EXIT_ERROR
        }
    };
    // The sender ends when nobody has anything to say any more.
    drop((reader, alive, replies));
    sender.await.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(Error::Leader)?;
    Ok(code)
}

/// Hands orders on; answers pings by itself, so that nothing that goes on makes the clock look slow.
async fn read(mut input: Input<Order>, orders: mpsc::Sender<Order>, replies: mpsc::Sender<Reply>) {
    let clock = clock::system();
    loop {
        let sent = match input.next().await {
            Ok(Some(Order::Ping(number))) => replies.send(Reply::Pong(number, clock.wall_ms())).await.is_ok(),
            Ok(Some(order)) => orders.send(order).await.is_ok(),
            Ok(None) => false,
            Err(error) => {
                drop(replies.send(Reply::Failed(error.to_string())).await);
                false
            }
        };
        if !sent {
            return;
        }
    }
}

async fn carry_out(
    orders: &mut mpsc::Receiver<Order>,
    replies: &mpsc::Sender<Reply>,
    interrupt: impl Future<Output = ()> + Send,
) -> Result<u8, Error> {
    let mut interrupt = pin!(interrupt);
    let first = tokio::select! {
        order = orders.recv() => order,
        () = &mut interrupt => None,
    };
    let Some(Order::Task(task)) = first else { return Ok(EXIT_INTERRUPTED) };
    let plan = Plan::of_share(&task)?;
    let mut view = View::leader(Told(replies.clone()));
    {
        // No order but one to stop makes sense before the files are made.
        let order = pin!(orders.recv());
        let mut stopped = select(order, &mut interrupt).map(drop);
        if !measure::prepare(&plan, &view, &mut stopped).await? {
            return Ok(EXIT_INTERRUPTED);
        }
    }
    let _ = replies.send(Reply::Ready).await;
    let order = tokio::select! {
        order = orders.recv() => order,
        () = &mut interrupt => None,
    };
    let Some(Order::Go(at_ms)) = order else {
        measure::discard(&plan).await;
        return Ok(EXIT_INTERRUPTED);
    };
    let clock = plan.run.clock.clone();
    tokio::time::sleep(Duration::from_millis(at_ms.saturating_sub(clock.wall_ms())).min(WAIT_MAX)).await;
    let late_s = clock.wall_ms() as f64 / 1e3 - at_ms as f64 / 1e3;
    let stopped = async {
        while let Some(order) = orders.recv().await {
            if matches!(order, Order::Stop) {
                return;
            }
        }
    };
    let stopped = pin!(stopped);
    let mut ended = select(stopped, interrupt).map(drop);
    let engine = Engine::new(plan.run.clone(), None);
    let mut found = measure::measure(&plan, &engine, &mut view, &mut ended).await;
    let _ = replies.send(Reply::Measured).await;
    measure::settle(&plan, &engine, &mut found, &view, &mut ended).await;
    let code = if found.interrupted { EXIT_INTERRUPTED } else { EXIT_OK };
    let _ = replies.send(Reply::Done(Box::new(found), late_s)).await;
    Ok(code)
}
