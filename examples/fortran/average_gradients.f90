! Compressed averages for gradients of one's own, in Fortran 2008.
!
!     mpirun -np 2 average_gradients_fortran [COMPRESS [FEEDBACK]]
!
! Fits outputs = weight * inputs + bias by stochastic gradient descent. Every rank draws samples of
! its own; Lamina averages the gradients. The model and its derivative are this program's business,
! and so is what it does with the averages.
!
! SPDX-License-Identifier: Apache-2.0
program average_gradients
    use, intrinsic :: iso_fortran_env, only: error_unit
    use lamina
    use mpi_f08
    implicit none

    integer, parameter :: n_inputs = 128, n_outputs = 16, batch = 64, steps = 600
    integer(c_size_t), parameter :: bias_layer = 0, weight_layer = 1
    real(c_float), parameter :: learning_rate = 0.02_c_float

    character(kind=c_char, len=5), target :: bias_name = c_char_"bias" // c_null_char
    character(kind=c_char, len=7), target :: weight_name = c_char_"weight" // c_null_char
    character(kind=c_char, len=256), target :: compress, feedback
    type(lmn_reducer_layer) :: layers(2)
    type(lmn_reducer_options) :: options
    type(lmn_step_report) :: report
    type(lmn_error) :: err
    type(c_ptr) :: world, reducer
    ! Zero, on all ranks: the same start, the same averages, the same end.
    real(c_float), target :: weight(n_outputs, n_inputs) = 0, bias(n_outputs) = 0
    real(c_float) :: true_weight(n_outputs, n_inputs), true_bias(n_outputs)
    integer(c_int64_t) :: totals(2) = 0 ! bytes sent, and what dense gradients would have been
    integer :: rank, n_ranks, step
    logical :: is_same

    call MPI_Init()
    call MPI_Comm_rank(MPI_COMM_WORLD, rank)
    call MPI_Comm_size(MPI_COMM_WORLD, n_ranks)
    call need(lmn_world_create_fortran(MPI_COMM_WORLD%MPI_VAL, c_null_ptr, world, err))

    compress = argument(1, "topk:density=0.05")
    feedback = argument(2, "econtrol")
    ! In the order in which gradients become ready. Small layers always travel whole.
    layers(1) = lamina_layer(bias_name, shape(bias))
    layers(2) = lamina_layer(weight_name, shape(weight))
    options = lmn_reducer_options_default()
    options%compress = c_loc(compress(1:1))
    options%feedback = c_loc(feedback(1:1))
    options%n_scalars = 1
    call need(lmn_reducer_create(world, layers, size(layers, kind=c_size_t), options, reducer, err))

    call seed_of(0)
    call draw(true_weight)
    call random_number(true_bias)
    call seed_of(rank + 1)
    do step = 0, steps - 1
        call train()
        totals = totals + [report%bytes_sent, report%bytes_dense]
        if (rank == 0 .and. (mod(step, 100) == 0 .or. step == steps - 1)) then
            print "(a, i4, a, es10.3)", "step", step, " loss ", report%scalars(1) / n_ranks
        end if
    end do

    is_same = is_as_on_rank_0()
    call MPI_Allreduce(MPI_IN_PLACE, is_same, 1, MPI_LOGICAL, MPI_LAND, MPI_COMM_WORLD)
    call MPI_Allreduce(MPI_IN_PLACE, totals, 2, MPI_INTEGER8, MPI_SUM, MPI_COMM_WORLD)
    if (rank == 0) then
        print "(a, i0, a, i0)", "sent ", totals(1), " bytes instead of ", totals(2)
        if (is_same) print "(a)", "all ranks hold the same parameters"
    end if
    call lmn_reducer_destroy(reducer)
    call lmn_world_destroy(world)
    call MPI_Finalize()
    if (.not. is_same) error stop "ranks hold different parameters"

contains

    ! One step on this rank's samples: gradients are handed over as they become ready.
    subroutine train()
        real(c_float) :: inputs(n_inputs, batch), errors(n_outputs, batch)
        real(c_float), pointer :: bias_gradient(:), weight_gradient(:, :)
        call draw(inputs)
        call need(lmn_reducer_begin(reducer, int(step, c_int64_t), err))
        errors = matmul(weight - true_weight, inputs) + spread(bias - true_bias, 2, batch)

        ! Memory of the reducer, so that nothing has to be copied.
        call c_f_pointer(lmn_reducer_gradient(reducer, bias_layer), bias_gradient, shape(bias))
        bias_gradient = sum(errors, dim=2) / batch
        call need(lmn_reducer_ready(reducer, bias_layer, c_loc(bias_gradient), err))
        call c_f_pointer(lmn_reducer_gradient(reducer, weight_layer), weight_gradient, shape(weight))
        weight_gradient = matmul(errors, transpose(inputs)) / batch
        call need(lmn_reducer_ready(reducer, weight_layer, c_loc(weight_gradient), err))
        ! Summed over ranks with the gradients.
        call lmn_reducer_set_scalar(reducer, 0_c_size_t, 0.5_c_float * sum(errors**2) / batch)
        call need(lmn_reducer_finish(reducer, report, err))

        ! On all ranks or on none: a NaN anywhere skips the step everywhere.
        if (report%applied) then
            call c_f_pointer(lmn_reducer_estimate(reducer, bias_layer), bias_gradient, shape(bias))
            call c_f_pointer(lmn_reducer_estimate(reducer, weight_layer), weight_gradient, &
                             shape(weight))
            bias = bias - learning_rate * bias_gradient
            weight = weight - learning_rate * weight_gradient
        end if
    end subroutine train

    ! Lamina tells in `err` what failed, where, and what to do; a failed rank ends the program.
    subroutine need(status)
        integer(c_int), intent(in) :: status
        if (status /= LMN_OK) then
            write (error_unit, "(2a)") "average_gradients: ", lamina_text(err%message)
            call MPI_Abort(MPI_COMM_WORLD, 1)
        end if
    end subroutine need

    function argument(number, default) result(text)
        integer, intent(in) :: number
        character(len=*), intent(in) :: default
        character(kind=c_char, len=256) :: text
        call get_command_argument(number, text)
        if (text == "") text = default
        text = trim(text) // c_null_char
    end function argument

    subroutine seed_of(number)
        integer, intent(in) :: number
        integer :: i, n
        call random_seed(size=n)
        call random_seed(put=[(1000 * number + i, i=1, n)])
    end subroutine seed_of

    ! Mean 0, variance 1.
    subroutine draw(values)
        real(c_float), intent(out) :: values(:, :)
        call random_number(values)
        values = sqrt(12.0_c_float) * (values - 0.5_c_float)
    end subroutine draw

    ! Whether the parameters have the bits of rank 0's.
    logical function is_as_on_rank_0()
        real(c_float) :: first_weight(n_outputs, n_inputs), first_bias(n_outputs)
        first_weight = weight
        first_bias = bias
        call MPI_Bcast(first_weight, size(weight), MPI_REAL, 0, MPI_COMM_WORLD)
        call MPI_Bcast(first_bias, size(bias), MPI_REAL, 0, MPI_COMM_WORLD)
        is_as_on_rank_0 = all(transfer(weight, [0_c_int32_t]) == transfer(first_weight, [0_c_int32_t])) &
                          .and. all(transfer(bias, [0_c_int32_t]) == transfer(first_bias, [0_c_int32_t]))
    end function is_as_on_rank_0
end program average_gradients
