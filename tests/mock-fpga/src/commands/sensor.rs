//! Sensors.

use super::{Answer, Context, OK, Outcome, count, fail, invalid_because, text};
use crate::clients::{Level, message};
use crate::sensors::{Sampling, Sensor, sensors};
use std::time::{Duration, Instant};

/// The one sensor of the server itself.
const MODE: &[u8] = b"mode";

/// The sensors a request means: the server's own, and others. Empty if it names one that is not there.
fn wanted(context: &Context<'_>, args: &[&[u8]]) -> (bool, Vec<&'static Sensor>) {
    let is_wanted = |name: &[u8]| args.first().is_none_or(|arg| *arg == name);
    let others = sensors(&context.world.board.config).iter();
    (is_wanted(MODE), others.filter(|sensor| is_wanted(sensor.name.as_bytes())).collect())
}

pub(super) fn list(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    let (mode, others) = wanted(context, args);
    if mode {
        context.inform(&[MODE, b"current mode", b"none", b"discrete", b"raw"]);
    }
    for sensor in &others {
        let words = [sensor.name, sensor.description, sensor.units, "float"];
        context.inform(&words.map(str::as_bytes));
    }
    if !mode && others.is_empty() {
        let name = args.first().copied().unwrap_or_default();
        context.log(Level::Error, [b"unknown sensor ", name].concat());
        return Err(invalid_because("sensor"));
    }
    count(usize::from(mode) + others.len())
}

pub(super) fn value(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    let (mode, others) = wanted(context, args);
    if !mode && others.is_empty() {
        let name = args.first().copied().unwrap_or_default();
        context.log(Level::Error, [b"no match for ", name].concat());
        return Err(invalid_because("sensor"));
    }
    let time = context.world.clients.timestamp();
    if mode {
        context.log(Level::Info, "1 clients subscribed to sensor mode");
        context.inform_without_mid(&[time.as_bytes(), b"1", MODE, b"unknown", b"raw"]);
    }
    let age = context.world.board.started.elapsed();
    for sensor in &others {
        let reading = sensor.reading(age);
        let words = [&time[..], "1"].into_iter().chain(reading.iter().map(String::as_str));
        context.inform_without_mid(&words.map(str::as_bytes).collect::<Vec<_>>());
    }
    count(usize::from(mode) + others.len())
}

pub(super) fn sampling(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    let Some((name, strategy)) = args.split_first() else {
        return Err(context.malformed("need a sensor name"));
    };
    let (mode, others) = wanted(context, args);
    if !mode && others.is_empty() {
        context.log(Level::Error, [b"unknown sensor ", *name].concat());
        return Err(fail());
    }
    let v5 = context.world.clients.v5;
    let sensor = text(name);
    if let Some((kind, parameters)) = strategy.split_first() {
        let every = match (*kind, parameters) {
            (b"none", _) => None,
            (b"event" | b"auto" | b"differential" | b"event-rate" | b"differential-rate", _) => {
                Some(Duration::from_secs(1))
            }
            (b"period", [period, ..]) => match text(period).parse::<f64>() {
                Ok(period) if period > 0.0 => {
                    let seconds = if v5 { period } else { period / 1000.0 };
                    Some(Duration::from_secs_f64(seconds.clamp(0.001, 1e6)))
                }
                _ => return Err(context.malformed("need a period")),
            },
            _ => return Err(context.malformed("unknown strategy")),
        };
        if mode && every.is_some() {
            context.log(Level::Info, "1 clients subscribed to sensor mode");
        }
        let now = Instant::now();
        // The mode never changes, so nobody is told about it.
        let every = every.filter(|_| !mode).map(|every| (every, now));
        let strategy: Vec<Vec<u8>> = strategy.iter().map(|word| word.to_vec()).collect();
        if v5 && mode && strategy != [b"none"] {
            // Version 5 tells a new subscriber at once how things are.
            let time = context.world.clients.timestamp();
            let args: [&[u8]; 6] =
                [b"sensor-status", time.as_bytes(), b"1", MODE, b"unknown", b"raw"];
            if let Some(client) = context.client() {
                message(client.output.tail(), b"#", None, &args);
            }
        }
        if let Some(client) = context.client() {
            client.samplings.retain(|sampling| sampling.sensor != sensor);
            client.samplings.push(Sampling { sensor: sensor.clone(), strategy, every });
        }
    }
    let Some(client) = context.client() else { return OK };
    let set = client.samplings.iter().find(|sampling| sampling.sensor == sensor);
    let strategy = set.map_or_else(|| vec![b"none".to_vec()], |set| set.strategy.clone());
    Ok(Outcome::Ok(std::iter::once(sensor.into_bytes()).chain(strategy).collect()))
}
