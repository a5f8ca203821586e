//! The generic suite tests on message version 3.

comity_signal::suite_tests!(one_to_one; comity_signal_x3dh::X3dh);
comity_signal::suite_tests!(pre_keys; comity_signal_x3dh::X3dh);
comity_signal::suite_tests!(groups; comity_signal_x3dh::X3dh);
comity_signal::suite_tests!(histories; comity_signal_x3dh::X3dh, comity_signal::suite_tests::signal_position);
comity_signal::suite_tests!(state; comity_signal_x3dh::X3dh, include_str!("data/state/layout-1.txt"));
