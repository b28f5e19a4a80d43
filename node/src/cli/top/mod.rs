//! Command `astreum top`: live view of the running node.
//!
//! Three threads feed the one that draws: requests to the node, keys, and signals. The screen is a
//! pure function of the model, and text from a node is escaped before it reaches the terminal.

mod feed;
mod input;
mod lists;
mod model;
mod panels;
mod terminal;
mod text;
mod theme;
mod view;

use core::ffi::c_int;
use core::time::Duration;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Instant;

use ratatui::crossterm::event::{Event, read};

use super::args::TopArgs;
use super::node_args::client;
use super::output::Failure;
use model::{Action, Model, Update};
use terminal::{Screen, Signal};
use theme::Theme;

/// Maximum time between two screens, for times that are shown.
const TICK: Duration = Duration::from_secs(1);

/// Message to the drawing thread.
enum Message {
    Update(Update),
    Input(Event),
    Signal(Signal),
    /// Keys cannot be read any more.
    NoInput(io::Error),
}

/// Reason for the end.
enum End {
    /// The user quits.
    Quit,
    Signal(c_int),
}

pub(super) fn top(args: &TopArgs) -> Result<(), Failure> {
    Screen::check()?;
    let client = client(&args.at)?;
    let interval = Duration::from_secs(u64::from(args.interval.get()));
    // A node that is not running is an error; if it stops later, it is waited for.
    let first = feed::sample(&client)?;
    let theme = Theme {
        // https://no-color.org
        has_colors: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    let (sender, messages) = channel();
    let of_signals = sender.clone();
    terminal::watch_signals(move |signal| {
        let _ = of_signals.send(Message::Signal(signal));
    })?;
    let mut model = Model::new(interval);
    model.update(Ok(first));
    let mut screen = Screen::open()?;
    start(sender, client, interval)?;
    let end = show(&mut model, theme, &mut screen, &messages);
    drop(screen);
    match end? {
        End::Quit => Ok(()),
        End::Signal(signal) => {
            terminal::end_by(signal);
            Err(Failure::Reported)
        }
    }
}

/// Starts the threads that request samples and read keys. They end with the process.
fn start(
    sender: Sender<Message>,
    client: crate::rpc::Client,
    interval: Duration,
) -> io::Result<()> {
    let of_node = sender.clone();
    let thread = thread::Builder::new().name("node".to_owned());
    thread.spawn(move || {
        thread::sleep(interval);
        feed::run(&client, interval, |update| {
            of_node.send(Message::Update(update)).is_ok()
        });
    })?;
    let thread = thread::Builder::new().name("keys".to_owned());
    thread.spawn(move || {
        loop {
            let message = read().map_or_else(Message::NoInput, Message::Input);
            let is_last = matches!(message, Message::NoInput(_));
            if sender.send(message).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(())
}

/// Draws until the user quits or a signal ends the process.
fn show(
    model: &mut Model,
    theme: Theme,
    screen: &mut Screen,
    messages: &Receiver<Message>,
) -> Result<End, Failure> {
    let start = Instant::now();
    loop {
        model.now = start.elapsed();
        let mut drawn = None;
        screen.draw(|buffer| drawn = Some(view::render(model, theme, buffer)))?;
        if let Some(drawn) = drawn {
            model.page = drawn.page;
            model.scroll = model.scroll.min(drawn.max_scroll);
        }
        let first = match messages.recv_timeout(TICK) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(End::Quit),
        };
        model.now = start.elapsed();
        // All messages that have arrived are drawn at once.
        for message in core::iter::once(first).chain(messages.try_iter()) {
            match message {
                Message::Update(update) => model.update(update),
                Message::Input(Event::Key(key)) => match input::action(&key) {
                    Some(Action::Suspend) => screen.suspend()?,
                    Some(action) if model.act(action) => return Ok(End::Quit),
                    _ => {}
                },
                // Drawing adapts to a changed size.
                Message::Input(_) => {}
                Message::Signal(Signal::End(signal)) => return Ok(End::Signal(signal)),
                Message::Signal(Signal::Stop) => screen.suspend()?,
                Message::Signal(Signal::Continue) => screen.enter()?,
                Message::NoInput(error) => {
                    let why = format!("failed to read keys from the terminal: {error}");
                    return Err(Failure::Failed(why));
                }
            }
        }
    }
}
