//! The bindings of `wit/destination.wit` on the guest's side. To be written.
