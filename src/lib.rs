//! lorectl reconciles a host with TOML files kept in git.

pub mod apply;
pub mod cli;
pub mod effect;
pub mod error;
pub mod id;
pub mod layout;
pub mod observe;
pub mod plan;
pub mod resource;
pub mod retry;
pub mod service;
pub mod spec;
pub mod state;
pub mod view;
