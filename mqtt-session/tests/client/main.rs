//! The client machine, driven through its public face: one module for each part of its behaviour.
mod support;

mod auth;
mod connect;
mod edges;
mod flows;
mod keep_alive;
mod publish;
mod receive;
mod restarts;
mod robust;
mod session;
mod store;
mod subscribe;
