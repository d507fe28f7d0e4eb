//! What controller and webhook both tell Prometheus: requests to API servers,
//! and how often a render was found in the cache.

use gitops_cluster::requests;
use gitops_source::renders;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;

/// Reads the counts of this process whenever Prometheus asks.
#[derive(Debug)]
struct Counts;

/// Adds `api_requests_total` and `renders_total` to a program's own metrics.
pub fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(Counts));
}

impl Collector for Counts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "Requests to API servers, by host, method and status";
        let mut family = encoder.encode_descriptor("api_requests", help, None, MetricType::Counter)?;
        for (asked, count) in requests() {
            let labels = [("host", &*asked.host), ("method", &asked.method), ("code", &asked.code)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        let help = "Sources to render, by whether the render cache had them";
        let mut family = encoder.encode_descriptor("renders", help, None, MetricType::Counter)?;
        let renders = renders();
        for (cache, count) in [("hit", renders.kept), ("miss", renders.anew)] {
            ConstCounter::new(count).encode(family.encode_family(&[("cache", cache)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn counts_are_metrics() {
        let mut registry = Registry::with_prefix("gitops");
        register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("# TYPE gitops_api_requests counter\n"), "{text}");
        assert!(text.contains("gitops_renders_total{cache=\"hit\"} "), "{text}");
        assert!(text.contains("gitops_renders_total{cache=\"miss\"} "), "{text}");
    }
}
