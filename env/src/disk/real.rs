//! Files of the operating system.
/// Files of the operating system.
#[derive(Debug)] pub struct RealDisk;
