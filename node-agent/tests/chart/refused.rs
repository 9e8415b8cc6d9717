//! Checks that helm refuses wrong values before it installs anything, with a message that names the value.

use crate::Case;
use crate::helm::template_set;

pub const CASES: &[Case] = &[("wrong values are refused and named", refused)];

/// A wrong setting, and what the message of helm must contain.
const WRONG: [(&str, &str); 43] = [
    ("agent.grce=5s", "'/agent': additional properties 'grce' not allowed"),
    ("agnt.grace=5s", "additional properties 'agnt' not allowed"),
    ("sources.apiServer.pods=false", "'/sources/apiServer'"),
    ("agent.grace=soon", "'/agent/grace'"),
    ("agent.traffic=some", "'/agent/traffic'"),
    ("agent.record=yes", "'/agent/record'"),
    ("agent.kinds={findings}", "'/agent/kinds/0'"),
    ("agent.api.port=0", "'/agent/api/port'"),
    ("agent.telemetry.port=70000", "'/agent/telemetry/port'"),
    ("agent.telemetry.address=localhost", "'/agent/telemetry/address'"),
    ("agent.limits.peersPerPort=0", "'/agent/limits/peersPerPort'"),
    ("agent.podCidrs={ten}", "'/agent/podCidrs/0'"),
    ("agent.netnsDirs={/}", "'/agent/netnsDirs/0'"),
    ("agent.netnsDirs=null", "agent.netnsDirs"),
    ("state.hostPath=lib", "'/state/hostPath'"),
    ("state.hostPath=/", "'/state/hostPath'"),
    ("state.hostPath=null", "state.hostPath: give a directory"),
    ("sources.runtime.directories={/}", "'/sources/runtime/directories/0'"),
    ("sources.runtime.socket=containerd.sock", "'/sources/runtime/socket'"),
    ("securityContext.capabilities.add={CAP_BPF}", "'/securityContext/capabilities/add/0'"),
    ("securityContext.seccompProfile.type=None", "'/securityContext/seccompProfile/type'"),
    ("privileged=maybe", "'/privileged'"),
    ("image.digest=sha256:12", "'/image/digest'"),
    ("image.pullPolicy=Sometimes", "'/image/pullPolicy'"),
    ("updateStrategy.rollingUpdate.maxUnavailable=some", "'/updateStrategy/rollingUpdate/maxUnavailable'"),
    ("resources.limits.memory=lots", "'/resources/limits/memory'"),
    ("networkPolicy.egressPorts={https}", "'/networkPolicy/egressPorts/0'"),
    ("exceptions[0].reason=known", "'/exceptions/0': missing properties"),
    ("exceptions[0].name=a,exceptions[0].reason=b,exceptions[0].mtch.port=80", "'/exceptions/0'"),
    (
        "existingConfigMap=mine,exceptions[0].name=a,exceptions[0].reason=b,exceptions[0].match.port=80",
        "exceptions and existingConfigMap exclude each other",
    ),
    (
        "sources.runtime.enabled=false,sources.apiServer.enabled=false",
        "at least one of sources.runtime.enabled",
    ),
    ("sources.runtime.directories=null", "give the socket, or directories"),
    ("agent.otlp.endpoint=collector", "'/agent/otlp/endpoint'"),
    ("agent.otlp.endpoint=http://c:4318/v1/logs", "'/agent/otlp/endpoint'"),
    ("agent.otlp.endpoint=http://u:p@c:4318", "'/agent/otlp/endpoint'"),
    ("agent.otlp.interval=1d", "'/agent/otlp/interval'"),
    ("agent.otlp.interval=100ms", "'/agent/otlp/interval'"),
    ("agent.otlp.signals={traces}", "'/agent/otlp/signals/0'"),
    ("agent.otlp.endpoint=http://c:4318,agent.otlp.signals=null", "give at least one of logs and metrics"),
    ("agent.otlp.endpoint=https://c:4318", "agent.otlp.caConfigMap: the image has no"),
    ("agent.reports=true,sources.apiServer.enabled=false", "write to the API server"),
    ("agent.events=true,sources.apiServer.enabled=false", "write to the API server"),
    ("agent.api.port=9471", "agent.api.port and agent.telemetry.port must differ"),
];

fn refused() {
    for (setting, message) in WRONG {
        let Err(message_of_helm) = template_set(&[setting]) else { panic!("{setting} is accepted") };
        assert!(message_of_helm.contains(message), "{setting}: {message_of_helm}");
    }
}
