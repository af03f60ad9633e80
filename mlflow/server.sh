#!/bin/sh
# Starts MLflow's server with passwords, in the container of compose.yaml or by hand.
# Reads: PGHOST, PGUSER, PGPASSWORD (PostgreSQL, database mlflow); ARTIFACTS (a folder or an S3 URL);
# MLFLOW_AUTH_ADMIN_USERNAME, MLFLOW_AUTH_ADMIN_PASSWORD (the first user, made once);
# MLFLOW_FLASK_SERVER_SECRET_KEY; NAMES and ORIGINS (hosts and origins that browsers and clients use).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export MLFLOW_AUTH_CONFIG_PATH="$here/basic_auth.ini"
# No jobs, which would run what they are sent, and no reports to MLflow's makers.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
export MLFLOW_DISABLE_TELEMETRY=true
# libpq reads host, user and password from the environment: none is in a list of processes.
exec mlflow server \
    --app-name basic-auth \
    --backend-store-uri "postgresql+psycopg:///mlflow" \
    --artifacts-destination "$ARTIFACTS" \
    --host "${LISTEN:-127.0.0.1}" --port "${PORT:-5000}" --workers 2 \
    --allowed-hosts "$NAMES" \
    --cors-allowed-origins "$ORIGINS"
