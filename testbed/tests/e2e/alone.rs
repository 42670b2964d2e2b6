//! What concerns every instance of the host or its clock: run one by one, after all other tests.

mod package;
mod run;
mod second_pool;
