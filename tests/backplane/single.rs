//! One instance and one Redis: what is asked for, and what each answer leads to.
