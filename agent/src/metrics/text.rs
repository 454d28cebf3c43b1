//! The figures in Prometheus' text form (`OpenMetrics` 1.0).

use crate::{router::Snapshot, tally::Histogram};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};
use proximity_proto::status::{ObjectStatus, Status};
use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
};

/// The powers of two of microseconds at which the latency is told: 16 microseconds to 67 seconds.
const STEPS: [usize; 12] = [4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26];

/// The text for a snapshot.
pub(super) fn of(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("proximity");
    registry.register_collector(Box::new(Figures {
        status: snapshot.status,
        latencies: snapshot.latencies,
    }));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

struct Figures {
    status: Status,
    latencies: BTreeMap<String, Histogram>,
}

impl Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

/// The form's own words, each written in one place.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) -> fmt::Result
    where
        [(&'l str, &'l str); N]: EncodeLabelSet,
    {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (&'l str, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (object, value) in values {
            metric.encode_family(&[("object", object)])?.encode_gauge(&value)?;
        }
        Ok(())
    }
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.agent(&mut page)?;
        self.objects(&mut page)?;
        let help = "Time from a call's arrival to the end of its method";
        let unit = Some(&Unit::Seconds);
        let mut metric =
            page.0.encode_descriptor("call_duration", help, unit, MetricType::Histogram)?;
        for (object, latency) in &self.latencies {
            let sum = latency.sum.as_secs_f64();
            let labels = [("object", object.as_str())];
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_histogram::<NoLabelSet>(sum, latency.count, &buckets(latency), None)?;
        }
        Ok(())
    }
}

/// How many calls took up to each of the steps, those below it left out.
fn buckets(latency: &Histogram) -> Vec<(f64, u64)> {
    let mut before = 0;
    let steps = STEPS.map(|octave| {
        #[allow(clippy::cast_precision_loss, reason = "powers of two are exact")]
        let bound = (1u64 << octave) as f64 / 1e6;
        let below = latency.below(octave);
        let own = below - before;
        before = below;
        (bound, own)
    });
    // The form's way to write infinity.
    steps.into_iter().chain([(f64::MAX, latency.count - before)]).collect()
}

impl Figures {
    fn agent(&self, page: &mut Page<'_>) -> fmt::Result {
        let agent = &self.status.agent;
        let (calls, traffic) = (&agent.calls, &agent.traffic);
        page.gauge("uptime_milliseconds", "Time since the agent started", agent.uptime)?;
        page.gauge("draining", "1 while the agent is stopping", agent.draining.into())?;
        page.gauge("peers", "Connections that called lately", agent.peers)?;
        page.gauge("clients", "Clients whose replies are kept for them", agent.clients)?;
        page.counter("messages_received", "Messages received", traffic.received)?;
        page.counter("messages_sent", "Messages sent", traffic.sent)?;
        page.counter("received_bytes", "Bytes of messages received", traffic.received_bytes)?;
        page.counter("sent_bytes", "Bytes of messages sent", traffic.sent_bytes)?;
        let help = "Messages of a form that is not served";
        page.counter("messages_odd", help, traffic.odd)?;
        let help = "Replies whose peer was gone or did not read";
        page.counter("replies_undeliverable", help, traffic.undeliverable)?;
        let help = "Requests dropped unread, of peers that do not read their replies";
        page.counter("requests_ignored", help, traffic.ignored)?;
        let help = "Requests that could not be understood, or named nothing that there is";
        page.counter("requests_wrong", help, calls.wrong)?;
        let help = "Requests from where none may come";
        page.counter("requests_not_allowed", help, calls.not_allowed)?;
        page.counter("calls_started", "Calls that were started", calls.started)?;
        let help = "Repeated calls that got the answer of the first";
        page.counter("calls_repeated", help, calls.repeated)?;
        let help = "Calls whose caller was gone before the reply";
        page.counter("calls_forgotten", help, calls.forgotten)?;
        let refused = agent.refused.iter();
        let refused = refused.map(|(reason, &count)| ([("reason", reason.as_str())], count));
        page.counters("calls_refused", "Calls refused by the agent, by reason", refused)
    }

    fn objects(&self, page: &mut Page<'_>) -> fmt::Result {
        let all = || self.status.objects.iter().map(|(name, object)| (name.as_str(), object));
        let help = "1 where nobody need look after the object, 0 where it is away, disconnected, stuck or failed";
        page.gauges("object_up", help, all().map(|(name, o)| (name, o.is_well().into())))?;
        let links = all().filter_map(|(name, object)| Some((name, object.link.as_ref()?)));
        let used = || links.clone().filter(|(_, link)| link.state != "unused");
        let help =
            "1 while there is a connection to the object's device; none where it was never needed";
        let connected = used().map(|(name, link)| (name, (link.state == "connected").into()));
        page.gauges("object_connected", help, connected)?;
        let help = "Time since the connection to the object's device was made or lost";
        let since = used().map(|(name, link)| (name, link.since));
        page.gauges("object_link_milliseconds", help, since)?;
        let help = "Calls in hand, queued and waiting";
        page.gauges("object_queue", help, all().map(|(name, object)| (name, object.queue)))?;
        let outcomes = |(name, object): (_, &ObjectStatus)| {
            let calls = object.calls.clone();
            [("done", calls.done), ("failed", calls.failed), ("refused", calls.refused)]
                .map(|(outcome, count)| ([("object", name), ("outcome", outcome)], count))
        };
        let help = "Calls of an object, by how they ended";
        page.counters("object_calls", help, all().flat_map(outcomes))
    }
}
