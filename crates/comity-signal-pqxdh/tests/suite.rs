//! The generic suite tests on message version 4.

use comity_signal_pqxdh::Pqxdh;

comity_signal::suite_tests!(one_to_one; Pqxdh::new());
comity_signal::suite_tests!(pre_keys; Pqxdh::new());
comity_signal::suite_tests!(groups; Pqxdh::new());
comity_signal::suite_tests!(histories; Pqxdh::new(), comity_signal::suite_tests::signal_position);
comity_signal::suite_tests!(state; Pqxdh::new(), include_str!("data/state/layout-1.txt"));
