//! gmqtt (Python), in the versions 3.1.1 and 5; the scenarios are in `python/gmqtt_client.py`.

use crate::support::{scenarios, tools};

scenarios! {
    tools::python("gmqtt_client.py");
    levels burst retained will offline takeover large property_values subscription_options topic_alias;
    alone:;
    departs:
}
