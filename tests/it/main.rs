//! The gateway's promises, tested from outside. One binary: each module is one subject.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_in_result,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

mod admin;
mod admin_places;
mod auth;
mod auth_cut;
mod auth_log;
mod auth_throttle;
mod aws_api;
mod aws_api_port;
mod common;
mod directory_safety;
mod directory_store;
mod exec;
mod exec_memory;
mod explain;
mod faults;
#[path = "../fuzz/bodies.rs"]
mod fuzz_bodies;
mod fuzz_seeds;
mod idp_api_gateway;
mod idp_api_gateway_faults;
mod idp_breaker;
mod idp_cache;
mod idp_certificates;
mod idp_contract;
mod idp_documents;
mod idp_examples;
mod idp_lambda;
mod idp_lambda_wire;
mod idp_router;
mod idp_token;
mod idp_token_keys;
mod idp_warnings;
mod idp_webhook;
mod idp_webhook_proof;
mod idp_webhook_urls;
mod listeners;
mod model;
mod probe;
mod replayed;
mod roles_external;
mod secret_files;
mod seeded;
mod service_managed;
mod service_managed_changes;
mod service_managed_pages;
mod session;
mod session_buckets;
mod session_calls;
mod session_checks;
mod session_commits;
mod session_copies;
mod session_copy_data;
mod session_copy_ends;
mod session_copy_ranges;
mod session_directories;
mod session_edits;
mod session_history;
mod session_lines;
mod session_modes;
mod session_moves;
mod session_object_settings;
mod session_partial;
mod session_paths;
mod session_pipelined;
mod session_reads;
mod session_recovery;
mod session_stops;
mod session_times;
mod session_trips;
mod session_writes;
mod several_stores;
mod ssh;
mod static_users;
mod storage_addressing;
mod storage_contract;
mod storage_dead;
mod storage_probe;
mod storage_regions;
mod tester;
mod tester_aws;
mod tester_contract;
mod tester_roles;
mod token_gateway;
mod transfer_api;
