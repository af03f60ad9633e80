"""Contract suites: what every task, compressor and store has to do, as test cases for pytest.

A test of one's own subclasses a case and says what is tested in a fixture, as with
``optuna.testing``. Only tests import this package: it needs pytest, which tlc does not install.
"""
