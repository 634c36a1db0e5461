//! paho-mqtt (Python), in the versions 3.1, 3.1.1 and 5; the scenarios are in `python/paho_client.py` and `python/paho_v5.py`.

use crate::support::{Broker, Process, tools};

mod all_versions {
    use crate::support::{scenarios, tools};

    scenarios! {
        tools::python("paho_client.py");
        levels burst retained overlapping unsubscribing wills offline redelivery takeover large fan;
        alone: server_shutdown;
        departs: overlapping takeover
    }
}

mod version_5 {
    use crate::support::{scenarios, tools};

    scenarios! {
        tools::python("paho_v5.py");
        publish_properties will_properties subscription_identifiers no_local retain_options receive_maximum topic_alias session_expiry
        assigned_client_id message_expiry maximum_packet_size shared request_response;
        alone: limited;
        departs: shared
    }
}

#[test]
fn a_broker_that_ends_says_goodbye() {
    for version in ["3", "4", "5"] {
        let Some(mut script) = tools::python("paho_client.py") else { return };
        let mut broker = Broker::start();
        if version == "5" && broker.is_mosquitto() {
            return; // (It closes without a word.)
        }
        let mut client = Process::start(script.args(["server_shutdown", &broker.port(), version]));
        client.until("connected");
        assert!(broker.terminate().success());
        client.success();
    }
}

#[test]
fn a_broker_that_offers_less_says_so() {
    let Some(mut script) = tools::python("paho_v5.py") else { return };
    let features = "maximum_qos = 1\nretain = false\nwildcard_subscriptions = false\nshared_subscriptions = false\n";
    let broker = Broker::configured(&format!(
        "[connection]\nmax_keep_alive = 30\n[features]\n{features}subscription_identifiers = false\n"
    ));
    Process::start(script.args(["limited", &broker.port()])).success();
}
