//! What the Python package `terrarium` calls: one function, which is asked in JSON and answers in JSON.
//!
//! Each call opens what it works on and closes it again. So nothing is shared between threads, and nothing survives a
//! fork.

mod failure;
mod request;
mod site;
mod watch;

use pyo3::prelude::*;
use serde_json::json;

use failure::Failure;
use request::Request;
use site::Site;
use watch::Watch;

/// Carries out a request. The answer is an object with either `ok` or `error`.
///
/// Python's other threads run meanwhile. `progress`, if it is not None, is called as `progress(step, steps, text)`
/// before each step; what it raises, or a signal's handler, stops the work before the next step: everything is put
/// back, then that is raised.
#[pyfunction]
fn call(
    py: Python<'_>,
    site: &str,
    request: &str,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let watch = Watch::new(progress);
    let answer = py.detach(|| answer(site, request, &watch));
    if let Some(raised) = watch.raised() {
        return Err(raised);
    }
    Ok(match answer {
        Ok(ok) => json!({ "ok": ok }),
        Err(failure) => json!({ "error": failure }),
    }
    .to_string())
}

fn answer(site: &str, request: &str, watch: &Watch) -> Result<serde_json::Value, Failure> {
    let site: Site = serde_json::from_str(site).map_err(|error| Failure::usage(&error))?;
    let request: Request = serde_json::from_str(request).map_err(|error| Failure::usage(&error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let answer = runtime.block_on(watch.beside(request.carry_out(&site, watch)));
    // A thread may still wait for an answer that nobody wants any more.
    runtime.shutdown_background();
    answer
}

/// The module.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(call, module)?)
}
