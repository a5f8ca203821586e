//! The promises of a store, on the one in memory.

use comity_signal::store_tests::MemoryStore;

comity_signal::store_tests!({
    let medium = MemoryStore::new();
    move || Box::new(medium.clone())
});
