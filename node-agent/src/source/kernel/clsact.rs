//! Whether a filter is still on an interface's clsact qdisc: others may remove the filter alone, or the qdisc with all that is
//! on it. Asked on the thread that is inside the interface's netns.

use std::io;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption};

use crate::source::scan::dump::Dump;

/// True if this interface has a filter of this name on its way in; false also where it has no qdisc for one.
///
/// # Errors
/// When the kernel does not list its filters, as when there is no such interface.
pub fn has_filter(interface: u32, name: &str) -> io::Result<bool> {
    let index = i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut filters = TcMessage::with_index(index);
    filters.header.parent = TcHandle { major: TcHandle::CLSACT.major, minor: TcHandle::MIN_INGRESS };
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetTrafficFilter(filters));
    request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut found = false;
    Dump::open(netlink_sys::protocols::NETLINK_ROUTE)?.run(request, |message| {
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
