#!/bin/sh
# Makes two databases with a role each, when PostgreSQL starts with an empty volume.
set -eu
psql --set=ON_ERROR_STOP=1 --username="${POSTGRES_USER:-postgres}" --dbname=postgres \
    --set=mlflow_password="$MLFLOW_DATABASE_PASSWORD" \
    --set=study_password="$STUDY_DATABASE_PASSWORD" <<'SQL'
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE DATABASE mlflow OWNER mlflow;
REVOKE ALL ON DATABASE mlflow FROM PUBLIC;
CREATE ROLE study LOGIN PASSWORD :'study_password';
CREATE DATABASE study OWNER study;
REVOKE ALL ON DATABASE study FROM PUBLIC;
SQL
