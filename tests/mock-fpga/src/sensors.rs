//! Sensors: `mode`, which every board has, and those a helper process adds on real hardware.

use crate::config::Config;
use katcp::messages::sensors::{SensorReading, Status};
use katcp::prelude::ToKatcpArguments;
use std::time::{Duration, Instant};

/// A quantity that drifts around a value.
#[derive(Debug)]
pub(crate) struct Sensor {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) units: &'static str,
    value: f64,
    swing: f64,
    /// Seconds a swing takes.
    period: f64,
    /// Above it the status is `warn`.
    limit: f64,
}

const SENSORS: [Sensor; 5] = [
    sensor("raw.temp.ambient", "ambient temperature", "degC", 24.0, 3.0, 600.0, 40.0),
    sensor("raw.temp.fpga", "FPGA die temperature", "degC", 58.0, 6.0, 90.0, 63.0),
    sensor("raw.temp.ppc", "PowerPC temperature", "degC", 45.0, 4.0, 150.0, 80.0),
    sensor("raw.fan.fpga", "FPGA fan speed", "rpm", 3200.0, 150.0, 40.0, 6000.0),
    sensor("raw.voltage.1v0", "1.0 V supply", "V", 1.002, 0.008, 25.0, 1.05),
];

const fn sensor(
    name: &'static str,
    description: &'static str,
    units: &'static str,
    value: f64,
    swing: f64,
    period: f64,
    limit: f64,
) -> Sensor {
    Sensor { name, description, units, value, swing, period, limit }
}

/// The sensors of a board beside `mode`.
pub(crate) fn sensors(config: &Config) -> &'static [Sensor] {
    if config.sensors { &SENSORS } else { &[] }
}

impl Sensor {
    /// Name, status and value, `age` after the board's start, as KATCP writes them.
    pub(crate) fn reading(&self, age: Duration) -> Vec<String> {
        let phase = age.as_secs_f64() / self.period;
        let value = self.value + self.swing * (std::f64::consts::TAU * phase).sin();
        let status = if value > self.limit { Status::Warn } else { Status::Nominal };
        SensorReading { name: self.name.to_owned(), status, value: format!("{value:.3}") }
            .to_arguments()
    }
}

/// A client that wants to be told about a sensor.
#[derive(Debug)]
pub(crate) struct Sampling {
    pub(crate) sensor: String,
    /// The strategy and its parameters, as they were asked for.
    pub(crate) strategy: Vec<Vec<u8>>,
    /// Time between informs, and when the next is due.
    pub(crate) every: Option<(Duration, Instant)>,
}

#[cfg(test)]
mod tests {
    use super::{Config, Duration, sensors};

    #[test]
    fn sensors_drift_and_warn() {
        assert!(sensors(&Config::default()).is_empty());
        let config = Config { sensors: true, ..Config::default() };
        let fpga = sensors(&config).iter().find(|sensor| sensor.name == "raw.temp.fpga").unwrap();
        assert_eq!(fpga.reading(Duration::ZERO), ["raw.temp.fpga", "nominal", "58.000"]);
        let hot = fpga.reading(Duration::from_secs_f64(22.5));
        assert_eq!(hot, ["raw.temp.fpga", "warn", "64.000"]);
    }
}
