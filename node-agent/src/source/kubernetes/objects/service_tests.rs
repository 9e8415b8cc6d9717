//! Tests of reading Services, valid and invalid.

use super::*;
use crate::source::kubernetes::objects::fault::parse;
use crate::source::kubernetes::objects::object::Object;

fn read(json: &str) -> Result<Service, Fault> {
    let Object { metadata, spec, status } = parse(&mut serde_json::Deserializer::from_str(json))?;
    super::service(&metadata.0, spec, status, &mut Cuts::default())
}

fn service(json: &str) -> Service {
    read(json).expect("a valid Service")
}

#[test]
fn target_ports_and_addresses() {
    let service = service(
        r#"{"metadata":{"namespace":"shop","name":"web"},"spec":{"type":"LoadBalancer","clusterIP":"10.0.0.1",
        "ipFamilies":["IPv6"],"clusterIPs":["10.0.0.1","fd00::1","no"],"externalIPs":["198.51.100.7"],"externalTrafficPolicy":"Local","healthCheckNodePort":31000,"selector":{"app":"web"},"ports":[
          {"port":80},{"port":81,"targetPort":"http","protocol":"UDP","nodePort":30081},
          {"port":82,"targetPort":8082,"name":"x","protocol":""},{"port":83,"targetPort":0},{"port":84,"targetPort":""}
        ]},"status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.9"},{"hostname":"lb"}]}}}"#,
    );
    assert_eq!((service.kind, service.ip_families), (ServiceKind::LoadBalancer, (false, true)));
    let addresses: Vec<_> = service.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.1", "198.51.100.7", "203.0.113.9", "fd00::1"]);
    let inside: Vec<_> = service.cluster_addresses().map(|address| address.to_string()).collect();
    assert_eq!(inside, ["10.0.0.1", "fd00::1"]);
    let outside = service.outside.as_ref().expect("a way from outside");
    assert_eq!(outside.balancer, ["203.0.113.9", "lb"]);
    assert_eq!((outside.local_only, outside.health_check.map(Into::into)), (true, Some(31_000_u16)));
    let ports: Vec<_> = service.ports.iter().map(|port| (port.port.get(), port.target.clone())).collect();
    let number = |n: u16| PortRef::Number(n.try_into().expect("a port"));
    assert_eq!(
        ports,
        [
            (80, number(80)),
            (81, PortRef::Name("http".to_owned())),
            (82, number(8082)),
            (83, number(83)),
            (84, number(84))
        ]
    );
    assert_eq!(service.ports[1].node_port.map(std::num::NonZeroU16::get), Some(30081));
}

#[test]
fn kinds_known_and_unknown() {
    for (spec, kind) in [
        (r#"{"clusterIP":"None"}"#, ServiceKind::Headless),
        (r#"{"type":"ExternalName"}"#, ServiceKind::ExternalName),
        (r#"{"type":""}"#, ServiceKind::ClusterIp),
        ("{}", ServiceKind::ClusterIp),
    ] {
        assert_eq!(service(&format!(r#"{{"metadata":{{"name":"a"}},"spec":{spec}}}"#)).kind, kind, "{spec}");
    }
}

#[test]
fn what_cannot_be_understood_is_refused_and_named() {
    let port = "expected a number from 1 to 65535";
    for (spec, then) in [
        (
            r#"{"type":"Telepathic"}"#.to_owned(),
            "spec.type is \"Telepathic\": expected ClusterIP, NodePort, LoadBalancer or ExternalName"
                .to_owned(),
        ),
        (r#"{"ports":[{"name":"x"}]}"#.to_owned(), "spec.ports[0].port is missing".to_owned()),
        (r#"{"ports":[{"port":80},{"port":0}]}"#.to_owned(), format!("spec.ports[1].port is 0: {port}")),
        (
            r#"{"ports":[{"port":80,"targetPort":70000}]}"#.to_owned(),
            format!("spec.ports[0].targetPort is 70000: {port} or a port's name"),
        ),
        (
            r#"{"ports":[{"port":80,"nodePort":-1}]}"#.to_owned(),
            format!("spec.ports[0].nodePort is -1: {port}"),
        ),
        (
            r#"{"ports":[{"port":80,"protocol":"QUIC"}]}"#.to_owned(),
            "spec.ports[0].protocol is \"QUIC\": expected TCP, UDP or SCTP".to_owned(),
        ),
        (
            r#"{"selector":{"app":[true],"tier":"x"}}"#.to_owned(),
            "spec.selector.app is a list: expected a text".to_owned(),
        ),
        (r#"{"selector":{"app":true}}"#.to_owned(), "spec.selector.app is true: expected a text".to_owned()),
        (r#"{"selector":{"app":1.5}}"#.to_owned(), "spec.selector.app is 1.5: expected a text".to_owned()),
    ] {
        let json = format!(r#"{{"metadata":{{"name":"a"}},"spec":{spec}}}"#);
        assert_eq!(read(&json).expect_err(&spec).to_string(), then);
    }
    assert_eq!(read(r#"{"metadata":{"name":"a"}}"#).expect_err("no spec").to_string(), "spec is missing");
}

#[test]
fn more_ports_than_any_cap_are_all_kept() {
    let ports: Vec<String> = (1..=5000).map(|port| format!(r#"{{"port":{port}}}"#)).collect();
    let json = format!(r#"{{"metadata":{{"name":"a"}},"spec":{{"ports":[{}]}}}}"#, ports.join(","));
    assert_eq!(service(&json).ports.len(), 5000);
}
