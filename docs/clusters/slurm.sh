#!/usr/bin/env bash
# A search on the nodes of a Slurm job, in folders that all of them share:
#
#   sbatch slurm.sh search.yaml
#
# Before its time is over, and when its nodes are taken away, the job goes into the queue again and
# resumes the search.
#SBATCH --job-name=tlc
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=1
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@180
set -euo pipefail

port=$((20000 + SLURM_JOB_ID % 10000))
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
ip=$(getent ahostsv4 "$head" | awk 'NR == 1 {print $1}')

# Without a token, anybody who reaches a port of Ray may run code.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$PWD/.ray-token-$SLURM_JOB_ID
(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$RAY_AUTH_TOKEN_PATH")
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT

srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap \
    ray start --block --head --node-ip-address="$ip" --port="$port" \
    --num-cpus="$SLURM_CPUS_PER_TASK" --include-dashboard=false &
until (: < "/dev/tcp/$ip/$port") 2> /dev/null; do sleep 1; done
if ((SLURM_JOB_NUM_NODES > 1)); then
    srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) \
        --exclude="$head" --overlap \
        ray start --block --address="$ip:$port" --num-cpus="$SLURM_CPUS_PER_TASK" &
fi

tlc run "$1" --address "$ip:$port" &
search=$!
trap 'kill -TERM "$search"; wait "$search" || true; scontrol requeue "$SLURM_JOB_ID"' TERM
wait "$search"
