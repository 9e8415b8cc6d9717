//! Checks whether a filter is still on an interface's clsact qdisc: others may remove the filter, or the qdisc with all
//! its filters. Runs on the thread that is inside the interface's netns.

use std::io;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption};

use crate::source::netlink::NetlinkSocket;

/// Returns true if this interface has an ingress filter of this name; false also if the interface has no clsact qdisc.
///
/// # Errors
/// When the kernel does not list the filters, for example because there is no such interface.
pub fn has_filter(interface: u32, name: &str) -> io::Result<bool> {
    let index = i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut filters = TcMessage::with_index(index);
    filters.header.parent = TcHandle { major: TcHandle::CLSACT.major, minor: TcHandle::MIN_INGRESS };
    let mut route = NetlinkSocket::open(netlink_sys::protocols::NETLINK_ROUTE)?;
    let mut found = false;
    route.dump(RouteNetlinkMessage::GetTrafficFilter(filters), |message| {
        if let RouteNetlinkMessage::NewTrafficFilter(filter) = message {
            found |= name_of(&filter) == Some(name);
        }
    })?;
    Ok(found)
}

fn name_of(filter: &TcMessage) -> Option<&str> {
    let options = filter.attributes.iter().filter_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    });
    options.flatten().find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => Some(name.as_str()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_known_by_its_name() {
        let mut filter = TcMessage::with_index(3);
        filter.attributes = vec![TcAttribute::Kind("bpf".to_owned())];
        assert_eq!(name_of(&filter), None, "the chain itself");
        let name = TcOption::Bpf(TcFilterBpfOption::ProgName("portolan_tc".to_owned()));
        filter.attributes.push(TcAttribute::Options(vec![TcOption::Bpf(TcFilterBpfOption::ProgId(7)), name]));
        assert_eq!(name_of(&filter), Some("portolan_tc"));
    }

    #[test]
    fn an_interface_without_the_qdisc_has_none() {
        assert!(!has_filter(1, "portolan_tc").expect("loopback"));
    }
}
