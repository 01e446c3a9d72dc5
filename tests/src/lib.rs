//!
//! A test that needs something the machine may lack goes through [`tiers`], which says `skipped: …` or, where nothing may be skipped, fails.

pub mod faults;
pub mod minio;
pub mod moto;
pub mod process;
pub mod python;
pub mod s3;
pub mod tables;
pub mod tiers;
pub mod tpch;
