//! aiomqtt (Python), in the versions 3.1, 3.1.1 and 5; the scenarios are in `python/aiomqtt_client.py`.

use crate::support::{scenarios, tools};

scenarios! {
    tools::python("aiomqtt_client.py");
    levels concurrent retained will offline large shared property_values;
    alone:;
    departs:
}
